//! `weft task signal`: a named signal to a task.

use protocol::TaskId;
use protocol::input::Input;
use protocol::limits::NAME_CHARS_MAX;
use protocol::message::Part;

use crate::failure::{Exit, Failure};
use crate::print::tasks;
use crate::session::{ClientArgs, OwnerArgs, Session};

/// Send a task a signal: ends its wait for it, or is kept until it waits
#[derive(clap::Args)]
pub(crate) struct Signal {
    /// The task
    id: TaskId,
    /// The signal's name, as the agent waits for it
    #[arg(value_parser = name)]
    name: String,
    /// What it carries
    #[arg(value_name = "JSON")]
    payload: Option<String>,
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    client: ClientArgs,
}

fn name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=NAME_CHARS_MAX => Ok(text.to_owned()),
        _ => Err(format!("a signal's name has 1 to {NAME_CHARS_MAX} characters")),
    }
}

impl Signal {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let payload =
            self.payload.as_deref().map(serde_json::from_str).transpose().map_err(|error| {
                Failure::say(Exit::Usage, format!("what the signal carries is no JSON: {error}"))
                    .todo("a text is JSON in quotes: '\"text\"'")
            })?;
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let payload = payload.map(Part::data).into_iter().collect();
        let input = Input::Signal { name: self.name, payload };
        let sequence = client.say(&self.owner.owner, &self.id, &input, None).await?;
        Ok(tasks::said(&mut printer, &self.id, sequence)?)
    }
}
