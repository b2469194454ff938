//! A task's tree, indented.

use client::TreeNode;
use protocol::budget::{Account, Unit};

use super::entry::waits_for;
use super::table::beginning;
use super::{Format, PrintError, Printer};

/// Characters of an error, a wait or a reason.
const CHARS: usize = 120;

/// Shows a tree.
pub(crate) fn show(printer: &mut Printer, root: &TreeNode) -> Result<(), PrintError> {
    if printer.format() != Format::Table {
        return printer.json(root);
    }
    let mut lines = Vec::new();
    draw(root, "", "", &mut lines);
    printer.line(&lines.join("\n"))
}

/// Writes a task and what is below it; `first` stands before it, `rest` before its children. The depth of a tree is
/// bounded by the limit on delegations.
fn draw(node: &TreeNode, first: &str, rest: &str, lines: &mut Vec<String>) {
    lines.push(format!("{first}{}", describe(node)));
    let last = node.children.len().checked_sub(1);
    for (at, child) in node.children.iter().enumerate() {
        let is_last = Some(at) == last && node.not_read == 0;
        let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{rest}{branch}"), &format!("{rest}{below}"), lines);
    }
    if node.not_read > 0 {
        lines.push(format!("{rest}└─ ... {} more; --limit shows them", node.not_read));
    }
}

fn describe(node: &TreeNode) -> String {
    let mut facts = vec![node.task.to_string()];
    facts.extend(node.skill.as_ref().map(ToString::to_string));
    facts.push(node.state.word().to_owned());
    if node.attempts > 1 {
        facts.push(format!("{} attempts", node.attempts));
    }
    facts.extend(node.node.as_ref().map(|node| format!("on {node}")));
    if let Some(waiting_for) = &node.waiting_for {
        facts.push(format!("waits for {}", beginning(&waits_for(waiting_for), CHARS)));
    }
    facts.extend(node.until.map(|until| format!("until {until}")));
    facts.extend(node.budget.as_ref().and_then(budget));
    facts.extend(node.reason.as_ref().map(|reason| beginning(reason, CHARS)));
    facts.extend(node.error.as_ref().map(|error| beginning(error, CHARS)));
    facts.join("  ")
}

/// What is spent of what is limited.
fn budget(account: &Account) -> Option<String> {
    let spent: Vec<_> = Unit::ALL
        .into_iter()
        .filter_map(|unit| {
            let granted = account.granted.of(unit)?;
            Some(format!("{}/{granted} {}", account.spent.of(unit), unit.name()))
        })
        .collect();
    (!spent.is_empty()).then(|| format!("spent {}", spent.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::TaskId;
    use protocol::task::TaskState;

    fn node(id: u64, children: Vec<TreeNode>) -> TreeNode {
        TreeNode {
            task: TaskId::from_sequence(id),
            skill: None,
            state: TaskState::Working,
            attempts: 1,
            node: None,
            waiting_for: None,
            until: None,
            budget: None,
            reason: None,
            error: None,
            children,
            not_read: 0,
        }
    }

    #[test]
    fn children_stand_below_their_parents() {
        let mut root = node(1, vec![node(2, vec![node(3, Vec::new())]), node(4, Vec::new())]);
        let draw = |root: &TreeNode| {
            let mut lines = Vec::new();
            draw(root, "", "", &mut lines);
            lines
        };
        assert_eq!(
            draw(&root),
            ["s1  working", "├─ s2  working", "│  └─ s3  working", "└─ s4  working"]
        );
        root.not_read = 7;
        assert_eq!(draw(&root)[3..], ["├─ s4  working", "└─ ... 7 more; --limit shows them"]);
    }
}
