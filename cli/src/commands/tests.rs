//! The list, the files, the help and the command table say the same.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;

use super::FILES;
use crate::Cli;
use crate::print::help::command_table;

fn in_crate(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn every_file_is_in_the_list_and_every_command_in_the_help() {
    let listed: BTreeSet<String> = FILES.iter().map(|&file| file.to_owned()).collect();
    let files: BTreeSet<String> = std::fs::read_dir(in_crate("src/commands"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().path().file_stem()?.to_str().map(str::to_owned))
        .filter(|stem| !matches!(stem.as_str(), "mod" | "tests"))
        // `demo_fleet.rs` is a part of `demo.rs`.
        .map(|stem| stem.split('_').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        files, listed,
        "a file in src/commands is not in the list of mod.rs, or the reverse"
    );
    let command = Cli::command();
    let named: BTreeSet<String> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(named, listed);
}

#[test]
fn every_command_and_every_flag_says_what_it_is_for() {
    fn check(command: &clap::Command, path: &str) {
        assert!(command.get_about().is_some(), "{path} has no description");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
        }
        for below in command.get_subcommands() {
            check(below, &format!("{path} {}", below.get_name()));
        }
    }
    let mut command = Cli::command();
    command.build();
    check(&command, "weft");
    command.debug_assert();
}

#[test]
fn the_command_table_is_the_one_in_the_file() {
    let expected = command_table(&Cli::command());
    let file = std::fs::read_to_string(in_crate("COMMANDS.md")).unwrap_or_default();
    assert!(
        file.contains(&expected),
        "COMMANDS.md is out of date; `weft help commands` prints the table:\n{expected}"
    );
}
