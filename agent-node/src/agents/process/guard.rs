//! Makes sure that programs do not outlive the node, however that ended.
//!
//! Most programs end when their standard input does. For the others a shell waits on a pipe that only the
//! node holds open, knows which process groups run, and kills them when the pipe closes. A signal at the
//! parent's death (`PR_SET_PDEATHSIG`) was rejected: it is Linux only, does not reach a program's own
//! children, and follows the thread that started the program rather than the process.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;

/// Lines `+ <group>` and `- <group>`; the end of input is the node's death.
const SCRIPT: &str = r#"
groups=" "
while read -r sign group; do
    case $sign in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -KILL "-$group"; done"#;

/// The waiting shell.
#[derive(Debug)]
pub(super) struct Guard(Mutex<Child>);

impl Guard {
    /// Starts the shell, in a process group of its own so that Ctrl-C does not take it away.
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "weft-process-guard"]).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(Mutex::new(command.spawn()?)))
    }

    /// A process group runs.
    pub(super) fn watch(&self, group: Pid) {
        self.say('+', group);
    }

    /// A process group has ended.
    pub(super) fn forget(&self, group: Pid) {
        self.say('-', group);
    }

    /// A few bytes into a pipe that is read at once: this does not block.
    fn say(&self, sign: char, group: Pid) {
        let mut shell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pipe) = &mut shell.stdin else { return };
        if let Err(error) = writeln!(pipe, "{sign} {}", group.as_raw_nonzero()) {
            tracing::warn!(%error, "process guard gone: a killed node may leave programs behind");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let shell = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Every program holds the guard, so none runs any more. An error means that the shell is gone.
        if shell.kill().is_ok() {
            drop(shell.wait());
        }
    }
}
