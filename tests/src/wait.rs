//! Waiting for a condition, with a limit and a name for the failure.

use std::time::Duration;

use tokio::time::Instant;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `look` finds something.
///
/// # Panics
/// When it does not within `limit`; the message names `what`.
pub async fn wait_until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let ends_at = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < ends_at, "{what}: not within {limit:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
