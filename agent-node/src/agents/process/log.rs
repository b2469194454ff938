//! Passes a program's log lines on to the node's log, cut and counted so that they cannot flood it.

use super::line::LogLevel;
use super::stderr::Rate;

/// Characters of a message that are kept.
const MESSAGE_CHARS: usize = 1024;

/// Writes one.
pub(super) fn write(agent: &str, level: LogLevel, message: &str, rate: &mut Rate) {
    let Some(suppressed) = rate.pass() else { return };
    let text: String = message.chars().take(MESSAGE_CHARS).collect();
    match level {
        LogLevel::Trace => tracing::trace!(agent, suppressed, text, "agent log"),
        LogLevel::Debug => tracing::debug!(agent, suppressed, text, "agent log"),
        LogLevel::Info => tracing::info!(agent, suppressed, text, "agent log"),
        LogLevel::Warn => tracing::warn!(agent, suppressed, text, "agent log"),
        LogLevel::Error => tracing::error!(agent, suppressed, text, "agent log"),
    }
}
