//! `echo`: gives back what it gets. The smallest agent, for first steps and for measuring.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use protocol::card::ANY_MEDIA_TYPE;
use protocol::message::Part;
use runtime::config::AgentSection;
use serde_json::Value;

use super::{AgentKind, BuildError, Surroundings, no_options};
use crate::agent::{About, AnyAgent, Stop};
use crate::context::Context;

/// The kind.
pub const KIND: AgentKind = AgentKind { name: "echo", about: "gives back what it gets", build };

fn build(
    section: &AgentSection,
    _surroundings: &Surroundings,
) -> Result<Arc<dyn AnyAgent>, BuildError> {
    no_options(section)?;
    Ok(Arc::new(Echo))
}

/// Gives back what it gets, part by part.
#[derive(Debug)]
pub struct Echo;

impl AnyAgent for Echo {
    fn about(&self) -> About {
        About {
            kind: KIND.name.to_owned(),
            name: "Echo".to_owned(),
            description: "Gives back what it gets.".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tags: vec!["example".to_owned()],
            examples: vec!["hello".to_owned()],
            input_modes: vec![ANY_MEDIA_TYPE.to_owned()],
            output_modes: vec![ANY_MEDIA_TYPE.to_owned()],
            ..About::default()
        }
    }

    fn input_schema(&self) -> Option<Value> {
        None
    }

    fn output_schema(&self) -> Option<Value> {
        None
    }

    fn run<'a>(
        &'a self,
        _context: &'a Context,
        input: Vec<Part>,
    ) -> BoxFuture<'a, Result<Vec<Part>, Stop>> {
        Box::pin(std::future::ready(Ok(input)))
    }
}
