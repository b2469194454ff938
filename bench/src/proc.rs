//! What the system knows about a process: processor time and memory.

use std::time::Duration;

use crate::BenchError;

/// Processor time that a process has used, all its threads together.
pub(crate) fn cpu(pid: u32) -> Result<Duration, BenchError> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field behind it.
    let ticks = stat.as_deref().and_then(|stat| stat.rsplit_once(')')).and_then(|(_, rest)| {
        let mut times = rest.split_whitespace().skip(11).map(str::parse::<u64>);
        Some(times.next()?.ok()? + times.next()?.ok()?)
    });
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    ticks
        .map(|ticks| Duration::from_micros(ticks * 1_000_000 / per_second))
        .ok_or(BenchError::Figures { pid })
}

/// Resident memory of a process at this moment, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, BenchError> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok();
    status
        .as_deref()
        .and_then(|status| status.lines().find_map(|line| line.strip_prefix("VmRSS:")))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kibibytes| kibibytes * 1024)
        .ok_or(BenchError::Figures { pid })
}
