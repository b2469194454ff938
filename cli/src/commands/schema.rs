//! `weft schema`: the contract for other languages. Needs no server.

use std::path::PathBuf;

use protocol::{codec, contract};
use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::input;
use crate::print::{Printer, help};
use crate::session::OutputArgs;

/// Show the published JSON Schemas and judge files by them
#[derive(clap::Args)]
pub(crate) struct Schema {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Validate(Validate),
}

/// List the schemas
#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    output: OutputArgs,
}

/// Print a schema
#[derive(clap::Args)]
struct Show {
    /// Its name
    name: String,
}

/// Judge a JSON file by a schema
#[derive(clap::Args)]
struct Validate {
    /// Its name
    name: String,
    /// The file, or - for stdin
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

impl Schema {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(List { output }) => {
                Ok(help::schemas(&mut Printer::stdout(output.output))?)
            }
            Action::Show(Show { name }) => {
                let schema = contract::find(&name)?;
                Ok(Printer::stdout(OutputArgs::default().output).line(schema.text.trim_end())?)
            }
            Action::Validate(command) => command.run(),
        }
    }
}

impl Validate {
    fn run(&self) -> Result<(), Failure> {
        contract::find(&self.name)?;
        let text = input::from_file(&self.file)?;
        let value: Value = codec::stored(&text).map_err(|fault| {
            let what = format!("{} is no JSON that can be judged", self.file.display());
            let mut failure = Failure::say(Exit::Failure, what);
            failure.causes.push(fault.to_string());
            failure
        })?;
        contract::validate(&self.name, &value)?;
        let text = format!("{} fits schema {}", self.file.display(), self.name);
        Ok(Printer::stdout(OutputArgs::default().output).line(&text)?)
    }
}
