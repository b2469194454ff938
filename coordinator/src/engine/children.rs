//! Decides whether enough children of a delegation have ended.
//!
//! A task that waits for children is held by *witnesses*: children that the stream's leader has called open. When one
//! of them ends its own wake comes, so nobody has to remember anything. For all children one witness is enough, and a
//! fan-out of a thousand costs a thousand looks in all, not a million.

use protocol::entry::Event;
use protocol::wait::Answer;

/// What is known of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// It completed.
    Completed,
    /// It ended without a result.
    Fruitless,
    /// It ended without a result, and its parent cannot do without it.
    Missed,
    /// The leader says that it has not ended.
    Open,
    /// Only a replica, or nobody, has been asked: it may have ended.
    Unknown,
}

impl Child {
    /// What an ended child is to its parent.
    #[must_use]
    pub fn ended(child: &protocol::entry::Child, has_completed: bool) -> Self {
        match (has_completed, child.essential) {
            (true, _) => Self::Completed,
            (false, false) => Self::Fruitless,
            (false, true) => Self::Missed,
        }
    }
}

/// What the children lead to.
#[derive(Debug, Clone, PartialEq)]
pub enum Join {
    /// The task goes on with this entry.
    Resume(Box<Event>),
    /// A witness lives.
    Wait,
    /// Ask the leader about more of the unknown ones.
    Ask,
}

/// Decides whether a task goes on, given what is known of its children. `enough` is how many have to complete; without
/// it all have to end.
#[must_use]
pub fn join(children: &[Child], enough: Option<u32>) -> Join {
    let count = |what| children.iter().filter(|child| **child == what).count();
    let (completed, missed) = (count(Child::Completed), count(Child::Missed));
    let fruitless = count(Child::Fruitless) + missed;
    let (open, unknown) = (count(Child::Open), count(Child::Unknown));
    let Some(enough) = enough else {
        if missed > 0 && open + unknown > 0 {
            let reason = "a child that it cannot do without came to nothing".to_owned();
            return Join::Resume(Box::new(resumed(children, reason)));
        }
        return match (open, unknown) {
            (0, 0) => Join::Resume(Box::new(all_ended(children.len()))),
            (0, _) => Join::Ask,
            _ => Join::Wait,
        };
    };
    let enough = usize::try_from(enough).unwrap_or(usize::MAX);
    if completed >= enough {
        let reason = format!("{completed} children completed");
        return Join::Resume(Box::new(resumed(children, reason)));
    }
    // Completed ones and those that still may.
    if children.len() - fruitless < enough {
        let reason = format!("{fruitless} of {} children came to nothing", children.len());
        return Join::Resume(Box::new(resumed(children, reason)));
    }
    let undecided = completed + unknown < enough && children.len() - fruitless - unknown >= enough;
    if undecided && open > 0 { Join::Wait } else { Join::Ask }
}

/// The entry that lets a task go on after all of its children.
#[must_use]
pub fn all_ended(count: usize) -> Event {
    Event::Resumed { reason: format!("all {count} children ended"), answer: None }
}

fn resumed(children: &[Child], reason: String) -> Event {
    let ended = (0_u32..)
        .zip(children)
        .filter(|(_, child)| matches!(child, Child::Completed | Child::Fruitless | Child::Missed))
        .map(|(at, _)| at)
        .collect();
    Event::Resumed { reason, answer: Some(Answer::Children { ended }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_ends_or_a_witness_decide() {
        for (children, enough, expected) in [
            ("", None, "resume"),
            ("cf", None, "resume"),
            ("co", None, "wait"),
            ("cu", None, "ask"),
            ("?ou", None, "wait"),
            ("com", None, "resume 0 2"),
            ("um", None, "resume 1"),
            ("cm", None, "resume"),
            ("mo", Some(1), "wait"),
            ("", Some(1), "resume"),
            ("couo", Some(1), "resume 0"),
            ("ffo", Some(1), "wait"),
            ("fff", Some(1), "resume 0 1 2"),
            ("ffu", Some(1), "ask"),
            ("oou", Some(1), "ask"),
            ("oou", Some(2), "wait"),
            ("oouu", Some(3), "ask"),
            ("cuo", Some(2), "ask"),
            ("coo", Some(2), "wait"),
            ("cfc", Some(2), "resume 0 1 2"),
            ("cfoo", Some(4), "resume 0 1"),
            ("ccoo", Some(5), "resume 0 1"),
            ("ooooou", Some(6), "ask"),
        ] {
            let known: Vec<_> = children
                .chars()
                .map(|c| match c {
                    'c' => Child::Completed,
                    'f' => Child::Fruitless,
                    'm' => Child::Missed,
                    'o' => Child::Open,
                    _ => Child::Unknown,
                })
                .collect();
            let word = match join(&known, enough) {
                Join::Resume(event) => {
                    let Event::Resumed { answer, .. } = *event else { unreachable!() };
                    let ended = match answer {
                        Some(Answer::Children { ended }) => ended,
                        Some(_) | None => Vec::new(),
                    };
                    ended.iter().fold("resume".to_owned(), |text, at| format!("{text} {at}"))
                }
                Join::Wait => "wait".to_owned(),
                Join::Ask => "ask".to_owned(),
            };
            assert_eq!(word, expected, "{children} {enough:?}");
        }
    }
}
