//! One running program: its pipes, and what can happen to it.
//!
//! Nothing runs beside the caller. Whoever waits for the next line in [`Child::next`] also moves what is being
//! written, drains standard error and notices the end of the process; every step survives being dropped
//! halfway. Between tasks nobody waits, and a program that writes then is held up by its full pipe.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use rustix::process::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep_until};

use super::guard::Guard;
use super::line::PROTOCOL_VERSION_FIRST;
use super::settings::Launch;
use super::stderr::{Rate, Stderr};
use super::stdout::{LineTooLong, Lines};

/// How long a pipe may stay open after the process has ended, held by a process that it left behind, and
/// how long a process may take to end after it has closed its output.
const LINGER: Duration = Duration::from_secs(1);

/// Why a program cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}: {source}")]
pub(super) struct StartError {
    pub(super) program: String,
    pub(super) source: io::Error,
}

/// Why there are no more lines from a program.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    #[error("ended ({status})")]
    Exited { status: ExitStatus },
    #[error("closed its standard output and runs on")]
    ClosedOutput,
    #[error("closed its standard input and runs on")]
    ClosedInput,
    #[error("did not read its task for {limit:?}")]
    Unread { limit: Duration },
    #[error("wrote a line of more than {limit} bytes")]
    LineTooLong { limit: usize },
    #[error("cannot be talked to: {0}")]
    Broken(io::Error),
}

impl From<LineTooLong> for Gone {
    fn from(error: LineTooLong) -> Self {
        Self::LineTooLong { limit: error.limit }
    }
}

/// One thing that happened.
enum Moved {
    Stdout,
    Stderr,
    Stdin(io::Result<usize>),
    Exit(ExitStatus),
}

/// A program that was started. Dropping it kills its process group.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    group: Pid,
    guard: Arc<Guard>,
    stdin: Option<ChildStdin>,
    outbox: BytesMut,
    /// How long a pending write may stand still, while what is pending must be read.
    unread_limit: Option<Duration>,
    written_at: Instant,
    closing_stdin: bool,
    lines: Lines<ChildStdout>,
    pub(super) stderr: Stderr<ChildStderr>,
    exit: Option<ExitStatus>,
    /// When whatever has not ended by then is given up.
    end_by: Option<Instant>,
    write_timeout: Duration,
    /// Whether it has written a line of the protocol.
    pub(super) has_spoken: bool,
    /// The version of the protocol that it speaks.
    pub(super) protocol: u32,
    /// Whether it has a task that it has not answered.
    pub(super) has_task: bool,
    /// Whether it has done a task.
    pub(super) has_answered: bool,
    pub(super) log_rate: Rate,
}

impl Child {
    /// Starts the program in a process group of its own.
    pub(super) fn start(launch: &Launch, guard: &Arc<Guard>) -> Result<Self, StartError> {
        let failed = |source| StartError { program: launch.program.display().to_string(), source };
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).current_dir(&launch.cwd);
        command.env_clear().envs(launch.environment.iter());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
        let id = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(group), (Some(stdin), Some(stdout), Some(stderr))) = (id, pipes) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        guard.watch(group);
        tracing::debug!(
            agent = launch.agent,
            pid = group.as_raw_nonzero(),
            "agent process started"
        );
        Ok(Self {
            process,
            group,
            guard: Arc::clone(guard),
            stdin: Some(stdin),
            outbox: BytesMut::new(),
            unread_limit: None,
            written_at: Instant::now(),
            closing_stdin: false,
            lines: Lines::new(stdout, launch.line_bytes_max),
            stderr: Stderr::new(stderr, &launch.agent),
            exit: None,
            end_by: None,
            write_timeout: launch.write_timeout,
            has_spoken: false,
            protocol: PROTOCOL_VERSION_FIRST,
            has_task: false,
            has_answered: false,
            log_rate: Rate::default(),
        })
    }

    /// The process and its group.
    pub(super) fn group(&self) -> Pid {
        self.group
    }

    /// Writes a line that may stay unread, in the course of the next [`Child::next`].
    pub(super) fn write(&mut self, line: &[u8]) {
        if self.stdin.is_none() {
            return;
        }
        self.outbox.extend_from_slice(line);
        self.written_at = Instant::now();
    }

    /// Writes a task, or the reply to a request, that must be read before the write limit, as [`Child::write`].
    pub(super) fn write_task(&mut self, line: &[u8]) {
        self.unread_limit = Some(self.write_timeout);
        self.has_task = true;
        self.write(line);
    }

    /// Closes standard input once everything is written.
    pub(super) fn close_stdin(&mut self) {
        self.closing_stdin = true;
        if self.outbox.is_empty() {
            self.stdin = None;
        }
    }

    /// The next line. Dropped halfway, nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Bytes, Gone> {
        loop {
            if let Some(line) = self.lines.pop()? {
                return Ok(line);
            }
            if let Some(status) = self.exit
                && self.lines.is_closed()
                && self.stderr.is_closed()
            {
                return Err(Gone::Exited { status });
            }
            self.step().await?;
        }
    }

    /// The next line that has been written already, if there is one.
    pub(super) fn next_now(&mut self) -> Result<Option<Bytes>, Gone> {
        loop {
            if let Some(line) = self.lines.pop()? {
                return Ok(Some(line));
            }
            if !self.lines.fill_now().map_err(Gone::Broken)? {
                break;
            }
        }
        if let Some(status) = self.process.try_wait().map_err(Gone::Broken)? {
            return Err(Gone::Exited { status });
        }
        if self.lines.is_closed() { Err(Gone::ClosedOutput) } else { Ok(None) }
    }

    /// Waits for one thing to happen and notes it.
    async fn step(&mut self) -> Result<(), Gone> {
        let limit = self.limit();
        let moved = tokio::select! {
            // The caller may come back late: what is there counts before the limit does.
            biased;
            moved = self.move_something() => Some(moved.map_err(Gone::Broken)?),
            () = at(limit) => None,
        };
        match moved {
            None => return Err(self.given_up()),
            Some(Moved::Stderr) => {}
            Some(Moved::Stdout) => {
                if self.lines.is_closed() {
                    self.linger();
                }
            }
            Some(Moved::Stdin(written)) => self.note_written(written),
            Some(Moved::Exit(status)) => {
                self.exit = Some(status);
                self.linger();
            }
        }
        Ok(())
    }

    /// In no fixed order, so that no pipe starves another.
    async fn move_something(&mut self) -> io::Result<Moved> {
        let writable = self.stdin.as_mut().filter(|_| !self.outbox.is_empty());
        tokio::select! {
            read = self.lines.fill(), if !self.lines.is_closed() => read.map(|()| Moved::Stdout),
            read = self.stderr.drain(), if !self.stderr.is_closed() => read.map(|()| Moved::Stderr),
            written = write_some(writable, &self.outbox) => Ok(Moved::Stdin(written)),
            status = self.process.wait(), if self.exit.is_none() => status.map(Moved::Exit),
        }
    }

    fn note_written(&mut self, written: io::Result<usize>) {
        match written {
            Ok(bytes) => {
                self.outbox.advance(bytes);
                self.written_at = Instant::now();
            }
            // Nobody reads any more. Whether that matters is seen from what the program still says.
            Err(_closed) => {
                self.outbox.clear();
                self.stdin = None;
                if self.unread_limit.is_some() {
                    self.linger();
                }
            }
        }
        if self.outbox.is_empty() {
            self.unread_limit = None;
            if self.closing_stdin {
                self.stdin = None;
            }
        }
    }

    fn linger(&mut self) {
        self.end_by.get_or_insert_with(|| Instant::now() + LINGER);
    }

    fn limit(&self) -> Option<Instant> {
        let unread = self.unread_limit.map(|limit| self.written_at + limit);
        self.end_by.into_iter().chain(unread).min()
    }

    /// What has not happened in time.
    fn given_up(&self) -> Gone {
        if let Some(status) = self.exit {
            return Gone::Exited { status };
        }
        match self.unread_limit {
            _ if self.lines.is_closed() => Gone::ClosedOutput,
            Some(limit) => Gone::Unread { limit },
            None => Gone::ClosedInput,
        }
    }

    /// Whatever the program wrote after its last newline, or what is left after a line that was too long.
    pub(super) fn take_rest(&mut self) -> Bytes {
        self.lines.take_rest()
    }

    /// Waits for the process to end, whatever it still writes.
    pub(super) async fn ended(&mut self) {
        self.unread_limit = None;
        while self.exit.is_none() {
            match self.next().await {
                Ok(_line) => {}
                Err(Gone::LineTooLong { .. }) => drop(self.lines.take_rest()),
                Err(Gone::Exited { .. }) => return,
                Err(
                    Gone::ClosedOutput | Gone::ClosedInput | Gone::Unread { .. } | Gone::Broken(_),
                ) => {
                    self.exit = self.process.wait().await.ok();
                    return;
                }
            }
        }
    }
}

async fn write_some(stdin: Option<&mut ChildStdin>, bytes: &[u8]) -> io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.write(bytes).await,
        None => std::future::pending().await,
    }
}

async fn at(limit: Option<Instant>) {
    match limit {
        Some(limit) => sleep_until(limit).await,
        None => std::future::pending().await,
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Also after the process has ended: it may have left others behind in its group, and the group's
        // number is not given to anybody else as long as one is left.
        self.signal(rustix::process::Signal::KILL);
        self.guard.forget(self.group);
    }
}
