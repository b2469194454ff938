//! The waits in a task's log: when something is due, what may answer a wait and what does, which approval is used up.

use std::time::Duration;

use super::TaskLog;
use crate::approval::Verdict;
use crate::card::OnMessage;
use crate::input::Input;
use crate::journal::Journaled;
use crate::lifecycle::Phase;
use crate::time::Timestamp;
use crate::wait::{Answer, WaitingFor};

impl TaskLog {
    /// When something is to happen to a waiting task: further people may decide, or its time is up.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let level = match (&self.waiting_for, self.waiting_since) {
            (Some(WaitingFor::Approval { request, .. }), Some(since)) => {
                let next = request.next_level(self.escalated_ms);
                next.map(|after_ms| since.after(Duration::from_millis(after_ms)))
            }
            (_, _) => None,
        };
        let deadline = self.origin.as_ref().and_then(|origin| origin.deadline);
        self.until.into_iter().chain(deadline).chain(level).min()
    }

    /// Whether something that was said to the task is refused because it came while the task ran. Its place among the
    /// entries decides: to everybody who looks, and whenever they do, the answer is the same.
    #[must_use]
    pub fn refuses(&self, sequence: u64, input: &Input, on_message: OnMessage) -> bool {
        let ran = |(from, to): &(u64, u64)| *from < sequence && sequence < *to;
        on_message == OnMessage::Reject
            && matches!(input, Input::Message(_))
            && self.runs.iter().any(ran)
    }

    /// Notes where a run begins or ends.
    pub(super) fn note_run(&mut self, sequence: u64, next: Phase) {
        match (self.phase == Phase::Running, next == Phase::Running) {
            (false, true) => self.runs.push((sequence, u64::MAX)),
            (true, false) => {
                if let Some((_, end)) = self.runs.last_mut() {
                    *end = sequence;
                }
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Whether a level of the approval that it waits for begins then and has not begun.
    pub(super) fn has_level(&self, after_ms: u64) -> bool {
        matches!(&self.waiting_for, Some(WaitingFor::Approval { request, .. })
            if after_ms > self.escalated_ms
                && request.chain.iter().any(|level| level.after_ms == after_ms))
    }

    pub(super) fn begin_waiting(
        &mut self,
        waiting_for: WaitingFor,
        since: Timestamp,
        until: Option<Timestamp>,
    ) {
        self.waiting_for = Some(waiting_for);
        self.waiting_since = Some(since);
        self.asked_at = self.generation;
        self.escalated_ms = 0;
        self.until = until;
    }

    pub(super) fn stop_waiting(&mut self) -> Option<WaitingFor> {
        self.waiting_since = None;
        self.until = None;
        self.waiting_for.take()
    }

    /// Marks an approval as used up; `false` when there is none to use.
    pub(super) fn use_approval(&mut self, name: &str) -> bool {
        let given = |answer: &Answer| {
            matches!(answer, Answer::Approval { ruling, .. }
                if matches!(ruling.verdict, Some(Verdict::Approve | Verdict::Edit)))
        };
        self.journal.iter_mut().rev().any(|journaled| match journaled {
            Journaled::Answered { waiting_for, answer, used: used @ false }
                if waiting_for.name() == Some(name) && given(answer) =>
            {
                *used = true;
                true
            }
            Journaled::Answered { .. } | Journaled::Step { .. } | Journaled::Delegated { .. } => {
                false
            }
        })
    }

    pub(super) fn journal_answer(&mut self, waiting_for: WaitingFor, answer: Answer) {
        self.used.extend(answer.sequences());
        match (waiting_for, answer) {
            (WaitingFor::Children { position, .. }, Answer::Children { ended }) => {
                self.join(position, Some(ended));
            }
            (waiting_for, answer) => {
                if let (WaitingFor::Approval { request, .. }, Answer::Approval { ruling, .. }) =
                    (&waiting_for, &answer)
                    && let Some(more) = request.raise(ruling)
                {
                    self.account.raise(more);
                }
                let waiting_for = Box::new(waiting_for);
                self.journal.push(Journaled::Answered { waiting_for, answer, used: false });
            }
        }
    }
}
