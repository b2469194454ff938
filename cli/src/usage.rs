//! What is said about a command line that cannot be read.
//!
//! `clap` counts a flag whose variable is set among those that were given, and shows it in the usage line as if it had
//! to be: the line is written anew from the command alone.

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue};

use crate::Cli;

/// The error with a usage line that does not depend on the environment.
pub(crate) fn said(mut error: clap::Error) -> clap::Error {
    if error.get(ContextKind::Usage).is_some() {
        let words = std::env::args().skip(1);
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(words)));
    }
    error
}

/// The usage of the command that these words name.
fn usage(words: impl Iterator<Item = String>) -> clap::builder::StyledStr {
    let mut named = Cli::command();
    named.build();
    for word in words {
        let Some(below) = named.find_subcommand(&word).cloned() else { break };
        named = below;
    }
    named.render_usage()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_is_that_of_the_command_that_is_named() {
        let of = |words: &[&str]| usage(words.iter().map(|&word| word.to_owned())).to_string();
        assert!(of(&["task", "send"]).contains("weft task send [OPTIONS] <SKILL>"));
        assert!(of(&["dlq", "get", "abc"]).contains("weft dlq get [OPTIONS] <NUMBER>"));
        assert!(of(&["nonsense"]).contains("weft <COMMAND>"));
    }
}
