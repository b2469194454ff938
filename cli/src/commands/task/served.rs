//! Whether anybody serves a skill. A misspelt skill is a queue like any other: nothing but this notices it.

use std::time::Duration;

use client::Client;
use protocol::Skill;
use protocol::topology::Names;
use runtime::bus::PullError;

/// Who may not ask is not kept waiting.
const LOOK_LIMIT: Duration = Duration::from_millis(500);
/// Skills named in a warning.
const NAMED_MAX: usize = 10;

/// Who serves a skill.
pub(super) struct Served {
    /// A node that does is registered now.
    pub(super) by_a_node: bool,
    /// Some node has: its queue is there.
    pub(super) before: bool,
    /// The skills that are served now.
    others: Vec<String>,
}

/// Asks the registry and the inbox; `None` when they do not answer.
pub(super) async fn look(client: &Client, skill: &Skill) -> Option<Served> {
    tokio::time::timeout(LOOK_LIMIT, ask(client, skill)).await.ok()?
}

async fn ask(client: &Client, skill: &Skill) -> Option<Served> {
    let bus = client.bus();
    let consumer = Names::skill_consumer(skill);
    let before = match bus.consumer(&bus.names().inbox, &consumer).await {
        Ok(_) => true,
        Err(PullError::NoConsumer { .. }) => false,
        Err(_) => return None,
    };
    let agents = client.agents().await.ok()?;
    let by_a_node = agents.iter().any(|agent| agent.skill == *skill);
    let mut others: Vec<String> = agents.iter().map(|agent| agent.skill.to_string()).collect();
    others.dedup();
    Some(Served { by_a_node, before, others })
}

impl Served {
    /// What to tell somebody who has just submitted to a skill that nobody has ever served.
    pub(super) fn warning(&self, skill: &Skill) -> Option<String> {
        if self.by_a_node || self.before {
            return None;
        }
        let named: Vec<_> = self.others.iter().take(NAMED_MAX).map(String::as_str).collect();
        let others = match named.as_slice() {
            [] => "no skill is served at all".to_owned(),
            named => format!("served are {}", named.join(", ")),
        };
        Some(format!(
            "warning: no node serves skill {skill}, and none ever has; the task waits until one does ({others})"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_skill_that_nobody_has_ever_served_is_worth_a_warning() {
        let skill = Skill::parse("nosuch").unwrap();
        for (by_a_node, before, told) in [
            (true, true, None),
            (true, false, None),
            (false, true, None),
            (false, false, Some("served are echo, probe")),
        ] {
            let others = vec!["echo".to_owned(), "probe".to_owned()];
            let warning = Served { by_a_node, before, others }.warning(&skill);
            assert_eq!(warning.is_some(), told.is_some());
            assert!(
                warning.is_none_or(|text| text.contains("nosuch") && text.contains(told.unwrap()))
            );
        }
    }
}
