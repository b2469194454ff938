//! `weft dlq`: dead letters, which are tasks that failed for good.

use client::Redrive;
use protocol::Skill;

use crate::failure::{Exit, Failure};
use crate::input::InputArgs;
use crate::large;
use crate::print::dead;
use crate::session::{ClientArgs, Session};

/// List, show, redrive and discard dead letters
#[derive(clap::Args)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    List(List),
    Get(Get),
    Redrive(RedriveArgs),
    Discard(Discard),
}

/// List dead letters, oldest first
#[derive(clap::Args)]
struct List {
    /// Only this skill's
    #[arg(long)]
    skill: Option<Skill>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    client: ClientArgs,
}

/// Show a dead letter: input, attempts, errors, nodes, times
#[derive(clap::Args)]
struct Get {
    /// Its number
    #[arg(value_parser = number)]
    number: u64,
    #[command(flatten)]
    client: ClientArgs,
}

/// Submit dead tasks again, as new tasks that refer to the old ones
///
/// The letter is removed once the new task is stored. Asking twice for the same letter starts one task.
#[derive(clap::Args)]
struct RedriveArgs {
    /// Numbers of the letters
    #[arg(required = true, value_name = "NUMBER", value_parser = number)]
    numbers: Vec<u64>,
    /// Another input than the one that failed, or - for stdin
    #[arg(long, value_name = "INPUT|-")]
    input: Option<String>,
    /// Take the other input from this file
    #[arg(long, short, value_name = "PATH", conflicts_with = "input")]
    file: Option<std::path::PathBuf>,
    /// What the other input is
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Remove dead letters; the tasks' logs keep their ends
#[derive(clap::Args)]
struct Discard {
    /// Numbers of the letters
    #[arg(required = true, value_name = "NUMBER", value_parser = number)]
    numbers: Vec<u64>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Reads the number of a dead letter.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "weft dlq list shows the numbers there are".to_owned())
}

impl Dlq {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(List { skill, limit, client }) => {
                let Session { client, mut printer, .. } = Session::open(&client).await?;
                let letters = client.all_dead_letters(skill.as_ref(), limit).await?;
                Ok(dead::list(&mut printer, &letters, limit)?)
            }
            Action::Get(Get { number, client }) => {
                let Session { client, mut printer, .. } = Session::open(&client).await?;
                let letter = client.dead_letter(number).await?;
                Ok(dead::one(&mut printer, &letter)?)
            }
            Action::Redrive(command) => command.run().await,
            Action::Discard(Discard { numbers, client }) => {
                let Session { client, mut printer, .. } = Session::open(&client).await?;
                for number in numbers {
                    client.discard(number).await?;
                    dead::discarded(&mut printer, number)?;
                }
                Ok(())
            }
        }
    }
}

impl RedriveArgs {
    async fn run(self) -> Result<(), Failure> {
        let given = self.input.is_some() || self.file.is_some();
        if given && self.numbers.len() > 1 {
            return Err(Failure::say(Exit::Usage, "one other input for several letters")
                .todo("redrive them one by one, each with its input"));
        }
        let content_type = self.content_type;
        let input = InputArgs { input: self.input, file: self.file, content_type };
        let bytes = if given { Some(input.read()?) } else { None };
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let input = match bytes {
            Some(bytes) => Some(large::body(client.bus(), bytes, input.content_type).await?),
            None => None,
        };
        for number in self.numbers {
            let receipt = client.redrive(number, Redrive { input: input.clone() }).await?;
            dead::redriven(&mut printer, number, &receipt)?;
        }
        Ok(())
    }
}
