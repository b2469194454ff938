//! What a coordinator decides about tasks that nobody is running. Pure: logs come in, values go out.
//!
//! The shell carries the decisions out, each behind the fence of the log it was read from: whoever decides on a
//! stale log is refused and looks again. So any number of coordinators may decide at once.

pub mod cancel;
pub mod children;
pub mod input;
pub mod wake;

#[cfg(test)]
mod tests_support {
    use protocol::entry::Origin;
    use protocol::id::Skill;
    use protocol::log::TaskLog;
    use protocol::submission::{Queue, Source};
    use protocol::time::Timestamp;

    /// A log that has an origin.
    pub(crate) fn log() -> TaskLog {
        let mut log = TaskLog::default();
        let source = Source { queue: Queue::Inbox, sequence: 1 };
        let skill = Skill::parse("echo").unwrap();
        log.origin = Some(Box::new(Origin::bare(skill, source, Timestamp::from_millis(0))));
        log
    }
}
