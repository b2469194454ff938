//! Decides what becomes of something that was said to a task and has not ended a wait.
//!
//! What may be of use later stays in the stream: an entry uses it up, once. What cannot be of use is refused, and the
//! sender is told; nothing that was said disappears without a word.

use std::time::Duration;

use protocol::approval::Verdict;
use protocol::card::OnMessage;
use protocol::fault::{Fault, code};
use protocol::input::Input;
use protocol::limits::INPUTS_MAX;
use protocol::log::TaskLog;
use protocol::time::Timestamp;
use protocol::wait::WaitingFor;

/// Something that was said to a task.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Its place in the log stream.
    pub sequence: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// How many of its kind had been said to the task when it came, itself included.
    pub place: usize,
    /// What it is, or why it cannot be read.
    pub input: Result<&'a Input, &'a Fault>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It stays in the stream.
    Keep,
    /// It is taken out of the stream, and the sender is told.
    Refuse(Fault),
    /// Nobody knows the task: look whether it has been submitted, and if not, again later.
    Unknown,
}

/// How long what was said to an unknown task is kept for a submission that may still come.
pub const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// Decides what becomes of something that was said to a task.
#[must_use]
pub fn judge(log: &TaskLog, said: Said<'_>, on_message: OnMessage) -> Judgement {
    let input = match said.input {
        Ok(input) => input,
        Err(fault) => return Judgement::Refuse(fault.clone()),
    };
    if log.used.contains(&said.sequence) {
        return Judgement::Keep;
    }
    if log.is_ended() {
        let message = format!("the task has ended: {}", log.state.word());
        return refuse(&message, "submit another task; Weft-Context-Id keeps the conversation");
    }
    if said.place > INPUTS_MAX {
        let kind = input.kind().plural();
        let message = format!("{INPUTS_MAX} {kind} are kept for a task, and that many have come");
        return refuse(&message, "submit another task for what remains to be said");
    }
    if log.origin.is_none() {
        return Judgement::Unknown;
    }
    match input {
        Input::Decision(decision) => decided(log, said.at, decision),
        message if log.refuses(said.sequence, message, on_message) => {
            refuse("the task takes no messages while it runs", "say it again when the task asks")
        }
        Input::Message(_) | Input::Signal { .. } => Judgement::Keep,
    }
}

/// A decision that has not ended the wait of a task.
fn decided(log: &TaskLog, at: Timestamp, decision: &protocol::approval::Decision) -> Judgement {
    let Some(WaitingFor::Approval { request, .. }) = &log.waiting_for else {
        return Judgement::Keep;
    };
    if decision.hash != request.hash {
        return Judgement::Refuse(
            Fault::new(
                code::APPROVAL_MISMATCH,
                format!("the task asks about the action with hash {}", request.hash),
            )
            .at("hash")
            .hint("look at what it asks now, and decide about that"),
        );
    }
    if (decision.verdict == Verdict::Edit) != decision.action.is_some() {
        return refuse(
            "an edit, and nothing else, carries the action that is allowed",
            "see decision.v1.json",
        );
    }
    let age = at.since(log.waiting_since.unwrap_or(at));
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    if !request.may_decide(&decision.by, age) {
        let message = format!("{:?} may not decide about this now", decision.by);
        return refuse(&message, "the request names who may, and from when on");
    }
    if log.until.is_some_and(|until| until < at) {
        return refuse("the decision came too late", "the task goes on without it");
    }
    Judgement::Keep
}

fn refuse(message: &str, hint: &str) -> Judgement {
    Judgement::Refuse(Fault::new(code::INPUT_REFUSED, message).hint(hint))
}

/// The fault of what was said to a task that nobody knows.
#[must_use]
pub fn nobody_there() -> Fault {
    Fault::new(code::INPUT_REFUSED, "there is no such task")
        .hint("the subject is weft.input.<owner>.<task>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::approval::{ApprovalRequest, Decision, Level};
    use protocol::lifecycle::Phase;
    use protocol::message::{Message, Part};
    use serde_json::json;

    fn decision(by: &str, hash: &str, verdict: Verdict) -> Input {
        Input::Decision(Box::new(Decision {
            hash: hash.to_owned(),
            verdict,
            by: by.to_owned(),
            comment: None,
            action: None,
        }))
    }

    #[test]
    fn what_can_be_of_no_use_is_refused() {
        let message = Input::Message(Message::from_user(vec![Part::text("hi")]));
        let signal = Input::Signal { name: "bell".to_owned(), payload: Vec::new() };
        let fault = Fault::new(code::MALFORMED_BODY, "no JSON");
        let mut request = ApprovalRequest::new(json!({"pay": 5}), "pay?");
        request.chain = vec![
            Level { approvers: vec!["ann".to_owned()], after_ms: 0 },
            Level { approvers: vec!["eve".to_owned()], after_ms: 2_000 },
        ];
        let hash = request.hash.clone();
        let approval = WaitingFor::Approval { name: "pay".to_owned(), request: Box::new(request) };
        let by = |who: &str, verdict| decision(who, &hash, verdict);
        let (yes, edit) = (Verdict::Approve, Verdict::Edit);
        let (keep, refused, mismatch) = ("keep", code::INPUT_REFUSED, code::APPROVAL_MISMATCH);
        for (phase, input, place, policy, expected) in [
            (Phase::Queued, Ok(&message), 1, OnMessage::Reject, keep),
            (Phase::Running, Ok(&message), 1, OnMessage::Enqueue, keep),
            (Phase::Running, Ok(&message), 1, OnMessage::Interrupt, keep),
            (Phase::Running, Ok(&message), 1, OnMessage::Reject, refused),
            (Phase::Running, Ok(&signal), 1, OnMessage::Reject, keep),
            (Phase::Running, Ok(&by("mallory", yes)), 1, OnMessage::Reject, keep),
            (Phase::Running, Ok(&message), INPUTS_MAX, OnMessage::Enqueue, keep),
            (Phase::Running, Ok(&message), INPUTS_MAX + 1, OnMessage::Enqueue, refused),
            (Phase::Running, Ok(&signal), INPUTS_MAX + 1, OnMessage::Enqueue, refused),
            (Phase::Ended, Ok(&signal), 1, OnMessage::Enqueue, refused),
            (Phase::Queued, Err(&fault), 1, OnMessage::Enqueue, code::MALFORMED_BODY),
            (Phase::Waiting, Ok(&signal), 1, OnMessage::Enqueue, keep),
            (Phase::Waiting, Ok(&by("ann", yes)), 1, OnMessage::Enqueue, keep),
            (Phase::Waiting, Ok(&by("ann", edit)), 1, OnMessage::Enqueue, refused),
            (Phase::Waiting, Ok(&by("eve", yes)), 1, OnMessage::Enqueue, refused),
            (Phase::Waiting, Ok(&decision("ann", "ff", yes)), 1, OnMessage::Enqueue, mismatch),
        ] {
            let mut log = crate::engine::tests_support::log();
            log.phase = phase;
            if phase == Phase::Running {
                log.runs.push((5, u64::MAX));
            }
            if phase == Phase::Waiting {
                log.waiting_for = Some(approval.clone());
                log.waiting_since = Some(Timestamp::from_millis(0));
            }
            let said = Said { sequence: 9, at: Timestamp::from_millis(1_000), place, input };
            let word = match judge(&log, said, policy) {
                Judgement::Keep => keep.to_owned(),
                Judgement::Unknown => "unknown".to_owned(),
                Judgement::Refuse(fault) => fault.code,
            };
            assert_eq!(word, expected, "{phase:?} {input:?} {place} {policy:?}");
        }
        let said = |sequence, log: &TaskLog| {
            let said =
                Said { sequence, at: Timestamp::from_millis(0), place: 1, input: Ok(&message) };
            judge(log, said, OnMessage::Enqueue)
        };
        assert_eq!(said(1, &TaskLog::default()), Judgement::Unknown);
        let mut ended = crate::engine::tests_support::log();
        ended.phase = Phase::Ended;
        ended.used.insert(7);
        assert_eq!(said(7, &ended), Judgement::Keep);
    }
}
