//! What an upgrade of a mesh would change, or has changed.

use runtime::bus::{Change, Fate, Upgrade};

use super::{Format, PrintError, Printer};

/// Every difference, and what becomes of it.
pub(crate) fn upgrade(printer: &mut Printer, plan: &Upgrade) -> Result<(), PrintError> {
    if printer.format() == Format::Table {
        let header = ["WHAT", "SETTING", "BEFORE", "AFTER", "UPGRADE"];
        let rows = plan.changes.iter().map(|change| {
            let Change { what, setting, before, after, fate } = change;
            let verdict = match fate {
                Fate::Adds => "adds".to_owned(),
                Fate::Done => "done".to_owned(),
                Fate::Stays(why) => format!("left as it is: {why}"),
                Fate::Failed(why) => format!("failed: {why}"),
                Fate::NotTried => "not tried".to_owned(),
            };
            vec![what.clone(), (*setting).to_owned(), before.clone(), after.clone(), verdict]
        });
        let nothing = match plan.missing.as_slice() {
            [] => "nothing differs from what this version wants",
            _ => "nothing that exists differs from what this version wants",
        };
        printer.table(&header, rows.collect(), nothing)?;
    } else {
        printer.json_list(&plan.changes)?;
    }
    for what in &plan.missing {
        printer.note(&format!("{what} does not exist; a coordinator creates it"));
    }
    if plan.has_work() {
        printer.note("nothing was changed; --apply does what adds");
    }
    Ok(())
}
