//! Ends programs: at once where one broke the protocol, step by step where it only has to go.

use std::time::Duration;

use rustix::process::{Signal, kill_process_group};
use tokio::time::timeout;

use super::child::Child;

/// How long a killed process may take to be gone. More means that it is stuck in the kernel.
const KILL_WAIT: Duration = Duration::from_secs(1);

impl Child {
    /// Signals the whole process group.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.group(), signal) {
            tracing::trace!(pid = self.group().as_raw_nonzero(), %error, "nobody left to signal");
        }
    }

    /// Kills the process group and waits until the process is gone.
    pub(super) async fn kill(mut self) {
        self.signal(Signal::KILL);
        if timeout(KILL_WAIT, self.ended()).await.is_err() {
            tracing::warn!(pid = self.group().as_raw_nonzero(), "killed agent process is not gone");
        }
    }

    /// Says goodbye with `last_line` and the end of input, then with SIGTERM, then with SIGKILL, with `grace`
    /// after each of the first two.
    pub(super) async fn stop(mut self, last_line: Vec<u8>, grace: Duration) {
        self.write(&last_line);
        self.close_stdin();
        if timeout(grace, self.ended()).await.is_ok() {
            return;
        }
        self.signal(Signal::TERM);
        if timeout(grace, self.ended()).await.is_err() {
            self.kill().await;
        }
    }
}
