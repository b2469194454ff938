//! `weft help`: the help of a command, and topics that belong to no command.

use clap::CommandFactory as _;

use crate::Cli;
use crate::failure::{Exit, Failure};
use crate::print::{Format, Printer, help};

/// Show help on a command or a topic: exit-codes, environment, commands
#[derive(clap::Args)]
pub(crate) struct Help {
    /// A command such as task send, or a topic
    #[arg(value_name = "COMMAND|TOPIC")]
    about: Vec<String>,
}

impl Help {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut printer = Printer::stdout(Format::Table);
        let mut command = Cli::command();
        let words: Vec<&str> = self.about.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["exit-codes"] => return Ok(help::exit_codes(&mut printer)?),
            ["environment"] => return Ok(help::environment(&mut printer, &command)?),
            ["commands"] => return Ok(printer.line(help::command_table(&command).trim_end())?),
            _ => {}
        }
        command.build();
        let mut found = &mut command;
        for word in words {
            found = found.find_subcommand_mut(word).ok_or_else(|| {
                Failure::say(Exit::NotFound, format!("there is no command or topic {word:?}"))
                    .todo("weft help lists the commands; topics: exit-codes, environment, commands")
            })?;
        }
        Ok(printer.line(found.render_long_help().to_string().trim_end())?)
    }
}
