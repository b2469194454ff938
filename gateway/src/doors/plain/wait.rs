//! Waiting for a task over plain REST: until it has ended or waits for somebody, or for as long as was asked.

use std::time::Duration;

use protocol::task::{Task, TaskState};

use super::Asked;
use crate::a2a::error::Error;
use crate::a2a::request::GetTaskRequest;
use crate::limits::PLAIN_WAIT_MAX;

/// How long `?wait=` asks to wait: `30s`, `500ms`, `2m` or a number of seconds.
pub(super) fn asked_for(asked: &Asked<'_>) -> Result<Option<Duration>, Error> {
    let Some(text) = asked.query.get("wait") else { return Ok(None) };
    let wait = duration(text)
        .ok_or_else(|| Error::field("wait", format!("{text:?} is no duration such as 30s")))?;
    Ok(Some(wait.min(PLAIN_WAIT_MAX)))
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(millis)))
}

/// Whether nothing happens to it before somebody does something, if ever.
pub(super) fn is_settled(state: TaskState) -> bool {
    state.is_terminal() || matches!(state, TaskState::InputRequired | TaskState::AuthRequired)
}

/// The task, as soon as it is settled or the time is up.
pub(super) async fn settled(
    asked: &Asked<'_>,
    task: Task,
    wait: Option<Duration>,
) -> Result<Task, Error> {
    let Some(wait) = wait.filter(|_| !is_settled(task.status.state)) else { return Ok(task) };
    asked.doors.core.settle(&asked.call, &task.id, wait).await?;
    get(asked, task.id).await
}

/// The task as it stands.
pub(super) async fn get(asked: &Asked<'_>, id: String) -> Result<Task, Error> {
    let request = GetTaskRequest { tenant: None, id, history_length: None };
    asked.doors.core.get(&asked.call, request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("30s", Some(30_000)),
            ("5", Some(5_000)),
            ("250ms", Some(250)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), millis, "{text:?}");
        }
    }
}
