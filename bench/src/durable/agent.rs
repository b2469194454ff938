//! What durable work is measured with: an agent that steps, fans out or waits, as its input says.

use std::sync::Arc;

use agent_node::agent::{About, Agent, AnyAgent, Stop, Typed};
use agent_node::agents::{AgentKind, BuildError, Surroundings};
use agent_node::context::Context;
use agent_node::context::delegate::Delegation;
use protocol::Skill;
use runtime::config::AgentSection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind, known to benchmarks only.
pub(crate) const KINDS: &[AgentKind] =
    &[AgentKind { name: "durable", about: "steps, fans out and waits", build }];

/// The signal that a waiting task waits for.
pub(crate) const SIGNAL: &str = "go";

fn build(_: &AgentSection, _: &Surroundings) -> Result<Arc<dyn AnyAgent>, BuildError> {
    Ok(Arc::new(Typed(Durable)))
}

/// What to do, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Order {
    /// Journaled steps.
    pub(crate) steps: u32,
    /// Children of the skill `echo`, all at once.
    pub(crate) children: u32,
    /// Whether to wait for the signal then.
    pub(crate) wait: bool,
}

struct Durable;

impl Agent for Durable {
    type Input = Order;
    type Output = u32;

    fn about(&self) -> About {
        About { kind: "durable".to_owned(), ..About::default() }
    }

    async fn run(&self, context: &Context, order: Order) -> Result<u32, Stop> {
        let mut sum = 0;
        for at in 0..order.steps {
            sum += context.step(&format!("step {at}"), async move { Ok(at % 2) }).await?;
        }
        if order.children > 0 {
            let echo = Skill::parse("echo").map_err(|error| Stop::permanent(error.to_string()))?;
            let work =
                (0..order.children).map(|at| Delegation { skill: echo.clone(), input: at.into() });
            let ends = context.delegate("children", work.collect()).await?;
            sum += u32::try_from(ends.iter().filter(|end| end.result.is_ok()).count()).unwrap_or(0);
        }
        if order.wait {
            context.signal(SIGNAL, None).await?;
        }
        Ok(sum)
    }
}
