//! `weft task list`: the newest tasks.

use client::ListQuery;
use protocol::task::TaskState;
use protocol::{Owner, Skill};

use crate::failure::Failure;
use crate::print::tasks;
use crate::session::{ClientArgs, Session};

/// List tasks, newest change first
#[derive(clap::Args)]
pub(crate) struct List {
    /// Only this skill's
    #[arg(long)]
    skill: Option<Skill>,
    /// Only those in this state: submitted, working, completed, failed, canceled, rejected
    #[arg(long, value_parser = state)]
    state: Option<TaskState>,
    /// Only this owner's
    #[arg(long)]
    owner: Option<Owner>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    client: ClientArgs,
}

/// Reads a state by its word or its name in A2A.
fn state(text: &str) -> Result<TaskState, String> {
    let text = text.to_ascii_lowercase().replace('_', "-");
    let word = text.strip_prefix("task-state-").unwrap_or(&text);
    TaskState::ALL
        .into_iter()
        .find(|state| state.word() == word)
        .ok_or_else(|| format!("there are {}", TaskState::ALL.map(TaskState::word).join(", ")))
}

impl List {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let query = ListQuery {
            skill: self.skill,
            owner: self.owner,
            state: self.state,
            limit: self.limit,
        };
        let listing = client.list(&query).await?;
        Ok(tasks::listing(&mut printer, &listing)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_two_names() {
        for text in ["input-required", "TASK_STATE_INPUT_REQUIRED", "Input_Required"] {
            assert_eq!(state(text), Ok(TaskState::InputRequired));
        }
        assert!(state("done").unwrap_err().contains("completed"));
    }
}
