//! Everything that `weft` writes to stdout and stderr.
//!
//! A reader that goes away (`weft ... | head`) is no error: the printer answers [`PrintError::Closed`], the command
//! stops at its next `?`, and the process ends quietly. Text from the mesh is not trusted: what is written for people has
//! its control characters shown, not obeyed, on a terminal or not, for it may be looked at later. Results that are
//! not shown on a terminal are as their agents made them.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod dead;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod entry;
pub(crate) mod gateways;
pub(crate) mod help;
pub(crate) mod mesh;
pub(crate) mod table;
pub(crate) mod tasks;
pub(crate) mod tree;

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal as _, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document; a live stream is one document a line.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// The reader went away.
    #[error("the reader of the output went away")]
    Closed,
    /// The output cannot be written.
    #[error("cannot write the output")]
    Failed(#[source] io::Error),
}

impl From<io::Error> for PrintError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Failed(error) }
    }
}

/// Writes results to stdout and notes to stderr.
pub(crate) struct Printer {
    out: Box<dyn Write + Send>,
    format: Format,
    terminal: bool,
    width: Option<u16>,
    color: bool,
}

impl Printer {
    /// A printer to this process's stdout.
    pub(crate) fn stdout(format: Format) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let size = terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        Self {
            out: Box::new(BufWriter::new(stdout)),
            format,
            terminal,
            width: size.map(|size| size.ws_col).filter(|columns| *columns > 0),
            color: terminal && colors_are_wanted(),
        }
    }

    /// How results are written.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether somebody looks at it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One line, at once.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), PrintError> {
        writeln!(self.out, "{}", shown(text))?;
        Ok(self.out.flush()?)
    }

    /// A line of content, as it is; on a terminal only what can do no harm there.
    pub(crate) fn content(&mut self, text: &str) -> Result<(), PrintError> {
        if self.terminal {
            return self.line(text);
        }
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// Bytes as they are; on a terminal only what can do no harm there.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), PrintError> {
        if self.terminal {
            let text = String::from_utf8_lossy(bytes);
            return self.line(&text);
        }
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    /// One JSON document: over several lines as `json`, on one as `jsonl`.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), PrintError> {
        match self.format {
            Format::Json | Format::Table => serde_json::to_writer_pretty(&mut self.out, value),
            Format::Jsonl => serde_json::to_writer(&mut self.out, value),
        }
        .map_err(io::Error::from)?;
        writeln!(self.out)?;
        Ok(self.out.flush()?)
    }

    /// One JSON document of a live stream, on one line in both formats.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), PrintError> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        writeln!(self.out)?;
        Ok(self.out.flush()?)
    }

    /// Many values: an array as `json`, a line each as `jsonl`.
    pub(crate) fn json_list<T: Serialize>(&mut self, values: &[T]) -> Result<(), PrintError> {
        if self.format != Format::Jsonl {
            return self.json(&values);
        }
        for value in values {
            serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
            writeln!(self.out)?;
        }
        Ok(self.out.flush()?)
    }

    /// Something beside the result, on stderr.
    pub(crate) fn note(&self, text: &str) {
        note(text);
    }

    /// One line whose beginning, a word of ours, has a color where colors are wanted.
    fn headed(&mut self, color: Color, head: &str, rest: &str) -> Result<(), PrintError> {
        if !self.color {
            return self.line(&format!("{head}{rest}"));
        }
        writeln!(self.out, "{}{}", painted(color, head), shown(rest))?;
        Ok(self.out.flush()?)
    }
}

/// The colors in use.
#[derive(Debug, Clone, Copy)]
enum Color {
    Red,
    Green,
    Yellow,
    Bold,
}

fn painted(color: Color, text: &str) -> String {
    let code = match color {
        Color::Red => "31",
        Color::Green => "32",
        Color::Yellow => "33",
        Color::Bold => "1",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[expect(clippy::disallowed_methods, reason = "the home of NO_COLOR")]
fn colors_are_wanted() -> bool {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && !std::env::var("TERM").is_ok_and(|term| term == "dumb")
}

/// A text whose control characters are shown and not obeyed, but for tabs and line ends.
fn shown(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    Cow::Owned(out)
}

/// Writes a note to stderr. Nobody is left to tell when that is closed.
fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{}", shown(text)));
}

/// Says on stderr why the command failed, and what to do.
pub(crate) fn failure(failure: &Failure) {
    let Some((what, why)) = failure.causes.split_first() else { return };
    let stderr = io::stderr();
    let mut text = match stderr.is_terminal() && colors_are_wanted() {
        true => painted(Color::Red, "error:"),
        false => "error:".to_owned(),
    };
    let mut add = |before: &str, line: &str| {
        text.push_str(before);
        text.push_str(&shown(line));
    };
    add(" ", what);
    for cause in why {
        add("\n  because: ", cause);
    }
    if let Some(todo) = &failure.todo {
        add("\n  to do: ", todo);
    }
    drop(writeln!(stderr.lock(), "{text}"));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_broken_pipe_is_told_apart() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(PrintError::from(broken), PrintError::Closed));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(PrintError::from(full), PrintError::Failed(_)));
    }

    /// What was written by now.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_for_people_is_clean_wherever_it_goes_and_content_is_as_it_is() {
        let paper = Paper::default();
        let out = Box::new(paper.clone());
        let mut piped =
            Printer { out, format: Format::Table, terminal: false, width: None, color: false };
        piped.table(&["A"], vec![vec!["\u{1b}[2J".to_owned()]], "none").unwrap();
        piped.facts(&[("b", Some("\u{7}".to_owned()))]).unwrap();
        piped.content("\u{1b}c").unwrap();
        let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = written.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["A", "\\u{1b}[2J", "b  \\u{7}", "\u{1b}c"]);
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        for (text, expected) in [
            ("plain \u{fc}\n\t", "plain \u{fc}\n\t"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("a\rb\u{7}", "a\\u{d}b\\u{7}"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
