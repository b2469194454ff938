//! Agents in the registry.

use protocol::card::Registration;
use runtime::clock::Clock;

use super::table::ago;
use super::{Format, PrintError, Printer};

/// All of them.
pub(crate) fn list(printer: &mut Printer, agents: &[Registration]) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json_list(agents);
    }
    let now = Clock::system().now();
    let header = ["SKILL", "NODE", "KIND", "STATE", "LOAD", "SEEN", "UP", "VERSION", "DESCRIPTION"];
    let rows = agents.iter().map(|agent| {
        vec![
            agent.skill.to_string(),
            agent.node.to_string(),
            agent.kind.clone(),
            if agent.draining { "draining" } else { "up" }.to_owned(),
            format!("{}/{}", agent.running, agent.slots),
            format!("{} ago", ago(agent.seen_at, now)),
            ago(agent.started_at, now),
            agent.weft_version.clone(),
            agent.card.description.clone(),
        ]
    });
    printer.table(&header, rows.collect(), "no agents; weft node or weft dev starts some")
}
