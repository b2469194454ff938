//! Makes sure that a process does not outlive the one that started it, however that ended.
//!
//! A process killed with SIGKILL cannot clean up. So a shell waits on a pipe that only we hold open
//! and kills the process when the pipe closes. `PR_SET_PDEATHSIG` was rejected: it is Linux only,
//! needs `unsafe` or `setpriv`, and fires when the *thread* that started the child ends, which for
//! a thread of an async runtime may be long before the process does.

use std::{
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

/// The first line is the server's process id; the end of input is the parent's death.
const SCRIPT: &str = r#"read -r pid || exit 0; read -r _; kill -KILL "$pid""#;

/// The waiting shell. Dropping it calls it off; drop it while the watched process id is still
/// reserved (running, or not yet waited for), so that it can never hit a stranger.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Starts the shell. It has its own process group, so that Ctrl-C does not take it away.
    ///
    /// # Errors
    /// When there is no shell to start.
    pub fn start() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "weft-nats-server-guard"]).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self)
    }

    /// Names the process to watch over. A few bytes into an empty pipe: this does not block.
    ///
    /// # Errors
    /// When the shell has ended.
    pub fn watch(&mut self, pid: u32) -> io::Result<()> {
        match &mut self.0.stdin {
            Some(pipe) => writeln!(pipe, "{pid}"),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The kill comes before the pipe closes. An error means that the shell is already gone.
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}
