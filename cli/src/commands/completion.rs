//! `weft completion`: scripts that complete `weft` in a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Cli;
use crate::failure::Failure;
use crate::print::{Format, Printer};

/// Print the completion script of a shell
///
/// For bash: weft completion bash > ~/.local/share/bash-completion/completions/weft
#[derive(clap::Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "weft", &mut script);
        Ok(Printer::stdout(Format::Table).bytes(&script)?)
    }
}
