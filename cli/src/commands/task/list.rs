//! `weft task list`: the newest tasks.

use client::{Fetch, ListQuery, TaskError};
use protocol::task::TaskState;
use protocol::{Owner, Skill};
use runtime::bus::ReadError;

use crate::failure::Failure;
use crate::print::tasks;
use crate::session::{ClientArgs, Session};

const ONE_BY_ONE: &str = "reading many messages at once failed, as it does when headers of one cannot be parsed; the newest were read one by one";

/// List tasks, newest change first
#[derive(clap::Args)]
pub(crate) struct List {
    /// Only this skill's
    #[arg(long)]
    skill: Option<Skill>,
    /// Only those in this state
    #[arg(long, value_parser = state, help = state_help())]
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
        .ok_or_else(|| format!("there are {}", words()))
}

/// Every state, for the help and for the error alike.
fn words() -> String {
    TaskState::ALL.map(TaskState::word).join(", ")
}

fn state_help() -> String {
    format!("Only those in this state: {}", words())
}

impl List {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut session = Session::open(&self.client).await?;
        let mut query = ListQuery {
            skill: self.skill.clone(),
            owner: self.owner.clone(),
            state: self.state,
            limit: self.limit,
            fetch: Fetch::Pages,
        };
        let listing = match session.client.list(&query).await {
            // A message whose headers cannot be parsed ends the connection of whoever is given it, but not of one
            // that fetches messages one by one.
            Err(TaskError::Read(ReadError::NoAnswer { .. })) => {
                session = session.again(&self.client).await?;
                query.fetch = Fetch::OneByOne;
                let listing = session.client.list(&query).await?;
                session.printer.note(ONE_BY_ONE);
                listing
            }
            listing => listing?,
        };
        Ok(tasks::listing(&mut session.printer, &listing, query.limit)?)
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
        let told = state("done").unwrap_err();
        assert!(TaskState::ALL.iter().all(|state| told.contains(state.word())), "{told}");
    }
}
