//! Where bodies are parsed: small ones at once, large ones beside the threads that serve everybody else.
//!
//! A parser does not pause. The largest body keeps its thread busy for more than a tenth of a second, and on two threads
//! two such bodies would hold up every stream.

use runtime::supervisor::Supervisor;

use crate::a2a::error::Error;
use crate::limits::PARSED_AT_ONCE_BYTES_MAX;

/// The name of these jobs.
const JOB: &str = "parse";

/// What `parse` makes of `bytes` bytes.
///
/// # Errors
/// Those of `parse`, and [`Error::Internal`] when it panics.
pub(super) async fn beside<T, E>(
    jobs: &Supervisor,
    bytes: usize,
    parse: impl FnOnce() -> Result<T, E> + Send + 'static,
    broken: impl FnOnce(Error) -> E,
) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    if bytes <= PARSED_AT_ONCE_BYTES_MAX {
        return parse();
    }
    let parsed = jobs.blocking(JOB, parse).await;
    parsed.unwrap_or_else(|| Err(broken(Error::Internal("the body could not be read".to_owned()))))
}

#[cfg(test)]
mod tests {
    use std::convert::identity;
    use std::thread::current;

    use runtime::metric::Metrics;

    use super::*;

    #[tokio::test]
    async fn large_bodies_leave_the_thread_and_a_panic_is_an_error() {
        let jobs = Supervisor::new(Metrics::new("test"));
        let here = current().id();
        for (bytes, stays) in
            [(0, true), (PARSED_AT_ONCE_BYTES_MAX, true), (PARSED_AT_ONCE_BYTES_MAX + 1, false)]
        {
            let there = beside(&jobs, bytes, || Ok(current().id()), identity).await;
            assert_eq!(there.unwrap() == here, stays, "{bytes}");
        }
        let broken =
            beside(&jobs, usize::MAX, || -> Result<(), Error> { panic!("nested") }, identity);
        assert!(matches!(broken.await, Err(Error::Internal(_))));
        assert_eq!(jobs.counts(JOB).panics, 1);
    }
}
