//! What `weft` says about itself: exit codes, variables, commands, schemas.

use std::collections::BTreeMap;

use protocol::contract;
use serde_json::json;

use super::{Format, PrintError, Printer};
use crate::failure::Exit;

/// Variables that no flag names, and what they do.
const VARIABLES: [(&str, &str); 7] = [
    ("NO_COLOR", "no colors"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "send traces there (dev, node, coordinator)"),
    ("OTEL_SERVICE_NAME", "name of the process in traces"),
    ("RUST_LOG", "which log lines are written, to stderr"),
    (
        "WEFT_NATS_SERVER",
        "the nats-server binary to start, rather than one from PATH, the cache or a download",
    ),
    ("XDG_CACHE_HOME", "where a downloaded nats-server is kept"),
    ("XDG_CONFIG_HOME", "where NATS contexts are"),
];

/// The exit codes.
pub(crate) fn exit_codes(printer: &mut Printer) -> Result<(), PrintError> {
    printer.line("Exit codes of weft, agent-node and coordinator:\n")?;
    for exit in Exit::ALL {
        printer.line(&format!("  {:>3}  {}", exit.code(), exit.meaning()))?;
    }
    Ok(())
}

/// The environment variables.
pub(crate) fn environment(
    printer: &mut Printer,
    command: &clap::Command,
) -> Result<(), PrintError> {
    let mut found: BTreeMap<String, String> =
        VARIABLES.into_iter().map(|(name, about)| (name.to_owned(), about.to_owned())).collect();
    variables(command, &mut found);
    let width = found.keys().map(String::len).max().unwrap_or(0);
    printer.line("A flag goes before its variable, a variable before the settings file.\n")?;
    for (name, about) in found {
        printer.line(&format!("  {name:width$}  {about}"))?;
    }
    Ok(())
}

fn variables(command: &clap::Command, found: &mut BTreeMap<String, String>) {
    for argument in command.get_arguments() {
        if let (Some(name), Some(help)) = (argument.get_env(), argument.get_help()) {
            let flag = argument.get_long().unwrap_or_default();
            let about = format!("--{flag}: {help}");
            found.entry(name.to_string_lossy().into_owned()).or_insert(about);
        }
    }
    for below in command.get_subcommands() {
        variables(below, found);
    }
}

/// The commands as a table in Markdown, one row each.
pub(crate) fn command_table(command: &clap::Command) -> String {
    let mut command = command.clone();
    command.build();
    let mut table = String::from("| command | what it does |\n|---|---|\n");
    for below in command.get_subcommands() {
        rows(below, "weft", &mut table);
    }
    table
}

fn rows(command: &clap::Command, path: &str, table: &mut String) {
    let path = format!("{path} {}", command.get_name());
    let below: Vec<_> =
        command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    if below.is_empty() || !command.is_subcommand_required_set() {
        let positionals: String = command
            .get_positionals()
            .map(|argument| {
                let text = argument.to_string();
                let text = text.trim_start_matches(['[', '<']).trim_end_matches([']', '>', '.']);
                let text = text.trim_end_matches([']', '>']).replace('|', "\\|");
                if argument.is_required_set() { format!(" {text}") } else { format!(" [{text}]") }
            })
            .collect();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        table.push_str(&format!("| `{path}{positionals}` | {about} |\n"));
    }
    for command in below {
        rows(command, &path, table);
    }
}

/// The published schemas.
pub(crate) fn schemas(printer: &mut Printer) -> Result<(), PrintError> {
    if printer.format() == Format::Table {
        let rows = contract::ALL.iter().map(|one| vec![one.name.to_owned(), one.title.to_owned()]);
        return printer.table(&["SCHEMA", "DESCRIBES"], rows.collect(), "no schemas");
    }
    let all = contract::ALL.map(|one| json!({"name": one.name, "title": one.title}));
    printer.json_list(&all)
}
