//! What a process costs this machine.

use std::time::Duration;

use crate::process::Process;

/// How long one tick of the kernel's accounts is.
const TICK: Duration = Duration::from_millis(10);

/// Resident bytes of a process.
///
/// # Panics
/// When it is gone.
#[must_use]
pub fn resident(process: &Process) -> u64 {
    let pid = process.pid().as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// How long a process has run on a processor.
///
/// # Panics
/// When it is gone.
#[must_use]
pub fn processor(process: &Process) -> Duration {
    let pid = process.pid().as_raw_nonzero();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in brackets may hold spaces.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum();
    TICK * ticks
}
