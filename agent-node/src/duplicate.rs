//! What becomes of a second submission under a known id.

use std::time::Duration;

use protocol::limits::DELIVERIES_MAX;
use protocol::submission::Queue;

use crate::core::Core;
use crate::execute::{self, Work};
use crate::hand::InHand;
use crate::lane;
use crate::refuse;

/// How long one that wants an answer waits before it looks again.
const REST: Duration = Duration::from_millis(500);

/// Drops it. The work is not done again; whoever asked can find out what became of it.
pub(crate) async fn drop_it(
    core: &Core,
    work: &Work,
    hash: &str,
    ended: bool,
    conflict: bool,
    hand: InHand,
) {
    if conflict {
        tracing::warn!(task_id = %work.envelope.task, reason = "another input under the same id", "not run");
        if core
            .conflict_letter(&work.envelope, hash, &work.log, execute::decode(&work.body))
            .await
            .is_err()
        {
            return refuse::nak(hand).await;
        }
    }
    if lane::pass_on_copy(core, &work.envelope).await.is_err() {
        return refuse::nak(hand).await;
    }
    let wants_answer = work.envelope.reply_to.is_some();
    let patient = i64::try_from(work.delivered).unwrap_or(i64::MAX) < DELIVERIES_MAX / 2;
    if wants_answer && !ended && patient {
        return hand.nak(REST).await;
    }
    if wants_answer {
        let mut asked = (*work.origin).clone();
        asked.reply_to.clone_from(&work.envelope.reply_to);
        core.answer(&work.envelope.task, &work.log, Some(&asked)).await;
    }
    // A copy may outlive the log that tells it from a task whose turn has not come.
    if work.envelope.lane.is_some() && work.envelope.source.queue == Queue::Inbox {
        let removed = core.bus.remove(&core.bus.names().inbox, work.envelope.source.sequence).await;
        if let Err(error) = removed {
            tracing::warn!(task_id = %work.envelope.task, reason = %error, "copy not removed yet");
            return refuse::nak(hand).await;
        }
    }
    hand.ack().await;
}
