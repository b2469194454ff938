//! `probe`: does what its input says, misbehaving included. For drills on a real mesh and for Weft's own tests.

mod acts;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::budget::Grant;
use protocol::message::Part;
use protocol::task::Artifact;
use runtime::config::AgentSection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::acts::{Act, ProbeKill, When};
use super::{AgentKind, BuildError, Surroundings, no_options};
use crate::agent::{About, Agent, AnyAgent, Stop, Typed};
use crate::context::{Call, Context};
use crate::delegate::{Join, OnFailure, Work};

/// The kind.
pub const KIND: AgentKind = AgentKind {
    name: "probe",
    about: "does what its input says: sleep, fail, panic, abort, journal, spend, wait, delegate",
    build,
};

fn build(
    section: &AgentSection,
    _surroundings: &Surroundings,
) -> Result<Arc<dyn AnyAgent>, BuildError> {
    no_options(section)?;
    Ok(Arc::new(Typed(Probe)))
}

/// What to do, in this order.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeInput {
    /// Append a line with task, attempt and process id to this file: a record of effects.
    pub mark: Option<PathBuf>,
    /// Take this long, in milliseconds.
    pub sleep_ms: u64,
    /// Ignore a cancel while sleeping.
    pub stubborn: bool,
    /// Journaled steps to run, each marked in the file and each taking `sleep_ms`.
    pub steps: u32,
    /// Tokens that each step uses; with these or `step_reserve`, steps are calls.
    pub step_tokens: u64,
    /// Tokens that each step sets aside.
    pub step_reserve: u64,
    /// Kill the process at one of the steps.
    pub kill: Option<ProbeKill>,
    /// What else to do, after the steps.
    pub acts: Vec<Act>,
    /// Fail while the attempt is at most this.
    pub fail_until_attempt: u32,
    /// How: `transient` or `permanent`.
    pub fail_as: FailAs,
    /// What a transient failure asks to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Panic.
    pub panic: bool,
    /// Abort the whole process.
    pub abort: bool,
    /// Say this as status.
    pub status: Option<String>,
    /// Hand over this text as an artifact after the sleep.
    pub artifact: Option<String>,
    /// Delegate these inputs to the skill named, and return the results.
    pub delegate: Option<ProbeDelegation>,
    /// Return a text of this many characters.
    pub output_chars: usize,
    /// Give this back.
    pub echo: Value,
}

/// How to fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailAs {
    /// It may pass.
    #[default]
    Transient,
    /// It will not pass.
    Permanent,
}

/// Work to hand to others.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeDelegation {
    /// The skill.
    pub skill: String,
    /// One input a child.
    pub inputs: Vec<Value>,
    /// How many have to complete; all of them have to end when it is left out.
    #[serde(default)]
    pub enough: Option<u32>,
    /// The slice of tokens that each child gets; else a share of what is left.
    #[serde(default)]
    pub tokens: Option<u64>,
    /// How often a failed child is tried again elsewhere.
    #[serde(default)]
    pub retries: u32,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeOutput {
    /// The attempt that got this far.
    attempt: u32,
    /// What was to be given back.
    echo: Value,
    /// What the children returned, or their errors.
    children: Vec<Value>,
    /// What came of the acts.
    results: Vec<Value>,
    /// A text of the length asked for.
    text: String,
}

/// Does what its input says.
#[derive(Debug)]
pub struct Probe;

impl Agent for Probe {
    type Input = ProbeInput;
    type Output = ProbeOutput;

    fn about(&self) -> About {
        About {
            kind: KIND.name.to_owned(),
            name: "Probe".to_owned(),
            description: "Does what its input says, misbehaving included.".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tags: vec!["drill".to_owned()],
            ..About::default()
        }
    }

    async fn run(&self, context: &Context, input: ProbeInput) -> Result<ProbeOutput, Stop> {
        if input.steps == 0 {
            mark(&input, context, "run")?;
        }
        if let Some(text) = &input.status {
            context.status(text.clone()).await?;
        }
        for step in 0..input.steps {
            run_step(&input, context, step).await?;
        }
        if input.steps == 0 {
            rest(&input, context).await?;
        }
        if let Some(text) = &input.artifact {
            context.artifact(artifact(text), false, true).await?;
        }
        misbehave(&input, context)?;
        let mut results = Vec::new();
        for act in &input.acts {
            results.push(acts::act(context, act, input.mark.as_deref()).await?);
        }
        let children = match &input.delegate {
            None => Vec::new(),
            Some(delegation) => delegate(context, delegation).await?,
        };
        Ok(ProbeOutput {
            attempt: context.attempt(),
            echo: input.echo,
            children,
            results,
            text: "x".repeat(input.output_chars),
        })
    }
}

async fn run_step(input: &ProbeInput, context: &Context, step: u32) -> Result<(), Stop> {
    let name = format!("step-{step}");
    let die = |when| {
        if let Some(kill) = &input.kill {
            kill.at(step, when);
        }
    };
    die(When::Before);
    let effect = async {
        mark(input, context, &name)?;
        rest(input, context).await?;
        die(When::Inside);
        Ok(step)
    };
    if input.step_tokens == 0 && input.step_reserve == 0 {
        context.step(&name, effect).await?;
    } else {
        let call = Call::new(&name).reserving(acts::tokens(input.step_reserve));
        let used = acts::tokens(input.step_tokens);
        context.call(call, |_| async move { effect.await.map(|step| (step, used)) }).await?;
    }
    die(When::After);
    Ok(())
}

fn artifact(text: &str) -> Artifact {
    Artifact {
        artifact_id: "found".to_owned(),
        name: None,
        description: None,
        parts: vec![Part::text(text)],
        metadata: None,
    }
}

async fn rest(input: &ProbeInput, context: &Context) -> Result<(), Stop> {
    let sleep = tokio::time::sleep(Duration::from_millis(input.sleep_ms));
    if input.stubborn {
        sleep.await;
        return Ok(());
    }
    tokio::select! {
        () = sleep => Ok(()),
        () = context.canceled() => Err(Stop::Canceled),
    }
}

#[expect(clippy::panic, reason = "panicking is what was asked for")]
fn misbehave(input: &ProbeInput, context: &Context) -> Result<(), Stop> {
    if input.panic {
        panic!("the probe was told to panic");
    }
    if input.abort {
        std::process::abort();
    }
    if context.attempt() > input.fail_until_attempt {
        return Ok(());
    }
    let message = format!("the probe was told to fail, attempt {}", context.attempt());
    Err(match (input.fail_as, input.retry_after_ms) {
        (FailAs::Permanent, _) => Stop::permanent(message),
        (FailAs::Transient, None) => Stop::transient(message),
        (FailAs::Transient, Some(wait)) => Stop::retry_after(message, Duration::from_millis(wait)),
    })
}

async fn delegate(context: &Context, delegation: &ProbeDelegation) -> Result<Vec<Value>, Stop> {
    let skill = protocol::Skill::parse(&delegation.skill)
        .map_err(|error| Stop::permanent(error.to_string()))?;
    let on_failure = match delegation.retries {
        0 => OnFailure::Report,
        times => OnFailure::Retry { times, elsewhere: true },
    };
    let budget = delegation.tokens.map(|tokens| Grant { tokens: Some(tokens), ..Grant::default() });
    let piece = |input: &Value| Work {
        budget,
        ..Work::new(skill.clone(), input.clone()).on_failure(on_failure.clone())
    };
    let work = delegation.inputs.iter().map(piece).collect();
    let join = delegation.enough.map_or(Join::All, Join::Quorum);
    let ends = context.delegate_with("children", work, join).await?;
    Ok(ends
        .into_iter()
        .map(|end| end.result.unwrap_or_else(|fault| Value::String(fault.to_string())))
        .collect())
}

fn mark(input: &ProbeInput, context: &Context, what: &str) -> Result<(), Stop> {
    leave_mark(input.mark.as_deref(), context, what)
}

fn leave_mark(path: Option<&Path>, context: &Context, what: &str) -> Result<(), Stop> {
    let Some(path) = path else { return Ok(()) };
    let line = format!("{} {} {what} {}\n", context.task(), context.attempt(), std::process::id());
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    written.map_err(|error| Stop::permanent(format!("{}: {error}", path.display())))
}
