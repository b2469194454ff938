//! Hands work to others as a plan says, and notes what the agent gets to see of it.

use agent_node::agent::Stop;
use agent_node::context::Context;
use agent_node::context::delegate::{Join, Target, Work};
use protocol::budget::Grant;
use protocol::fault::code;
use protocol::need::Need;
use serde_json::Value;

use super::agent::tokens;
use super::node::Node;
use super::plan::Piece;

impl Node {
    /// Waits for pieces of work, or for some of them, each with a slice of the budget.
    pub(super) async fn delegate(
        &self,
        context: &Context,
        place: usize,
        pieces: &[Piece],
        (enough, slice): (Option<u32>, Option<u64>),
    ) -> Result<(), Stop> {
        // Without a budget of its own a task has nothing to share out.
        let granted = context.budget().await.granted.tokens.is_some();
        let slice = slice.filter(|_| granted).map(tokens);
        let work = pieces.iter().map(|piece| {
            let target = match piece.need {
                None => Target::Skill(self.load.skill.clone()),
                Some(tag) => Target::Need(Need { tags: vec![tag.to_owned()], ..Need::default() }),
            };
            let input = Value::from(format!("p{}", piece.plan));
            let budget =
                slice.map(|slice| Grant { tokens: Some(slice.tokens), ..Grant::default() });
            Work { target, input, budget, on_failure: piece.on_failure.clone() }
        });
        let join = enough.map_or(Join::All, Join::Quorum);
        let ends =
            context.delegate_with(&format!("delegation {place}"), work.collect(), join).await?;
        let task = (context.owner().clone(), context.task().clone());
        self.hold.with(|world| {
            let known = world.seen.ends.entry(task).or_default();
            let awaited = ends.into_iter().filter(|end| {
                end.result.as_ref().err().is_none_or(|fault| fault.code != code::NOT_AWAITED)
            });
            known.extend(awaited.map(|end| (end.task, end.result.is_ok())));
        });
        Ok(())
    }
}
