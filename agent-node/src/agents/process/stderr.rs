//! Takes what a program writes to its standard error: into the node's log, and its end into faults.
//!
//! Both are bounded. Long lines are cut, more lines than the rate allows are counted instead of logged, and
//! of everything only the last [`TAIL_BYTES`] bytes are kept. What one task caused to be written is
//! forgotten when the next one begins, for that may belong to somebody else.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::stdout::read_now;

/// Bytes kept for faults.
const TAIL_BYTES: usize = 4 * 1024;
/// Bytes of a line that are logged.
const LINE_BYTES: usize = 1024;
/// Chunks taken at most between two tasks: four times what a pipe usually holds.
const CHUNKS_NOW: usize = 64;
/// Lines logged per [`RATE_WINDOW`].
const LINES_PER_WINDOW: u32 = 200;
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// Lets so many lines pass in each window of time and counts the others.
#[derive(Debug)]
pub(super) struct Rate {
    window_began: Instant,
    passed: u32,
    suppressed: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { window_began: Instant::now(), passed: 0, suppressed: 0 }
    }
}

impl Rate {
    /// Whether one more may pass now; if so, how many have not since the last one that did.
    pub(super) fn pass(&mut self) -> Option<u32> {
        if self.window_began.elapsed() >= RATE_WINDOW {
            (self.window_began, self.passed) = (Instant::now(), 0);
        }
        if self.passed >= LINES_PER_WINDOW {
            self.suppressed += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// A program's standard error.
#[derive(Debug)]
pub(super) struct Stderr<R> {
    source: R,
    agent: String,
    tail: VecDeque<u8>,
    line: Vec<u8>,
    rate: Rate,
    chunk: Box<[u8]>,
    closed: bool,
}

impl<R: AsyncRead + Unpin> Stderr<R> {
    /// `agent` is how the log calls it.
    pub(super) fn new(source: R, agent: &str) -> Self {
        Self {
            source,
            agent: agent.to_owned(),
            tail: VecDeque::new(),
            line: Vec::new(),
            rate: Rate::default(),
            chunk: vec![0; 4 * 1024].into(),
            closed: false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads once. Dropped halfway, it has read nothing.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        let read = self.source.read(&mut self.chunk).await?;
        self.take(read);
        Ok(())
    }

    /// The end of what has been read, as text.
    pub(super) fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl<R> Stderr<R> {
    /// Takes in the first bytes of the chunk; none is the end.
    fn take(&mut self, read: usize) {
        self.closed = read == 0;
        let chunk = self.chunk.get(..read).unwrap_or_default();
        self.tail.extend(chunk);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
        for byte in chunk {
            if *byte == b'\n' {
                log_line(&self.agent, &mut self.line, &mut self.rate);
            } else if self.line.len() < LINE_BYTES {
                self.line.push(*byte);
            }
        }
        if self.closed {
            log_line(&self.agent, &mut self.line, &mut self.rate);
        }
    }
}

impl<R: AsFd> Stderr<R> {
    /// Takes in what is in the pipe already, and forgets it together with what was read before.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        for _ in 0..CHUNKS_NOW {
            let Some(read) = read_now(&self.source, &mut self.chunk)? else { break };
            self.take(read);
            if self.closed {
                break;
            }
        }
        self.tail.clear();
        Ok(())
    }
}

fn log_line(agent: &str, line: &mut Vec<u8>, rate: &mut Rate) {
    if line.is_empty() {
        return;
    }
    if let Some(suppressed) = rate.pass() {
        let text = String::from_utf8_lossy(line);
        tracing::info!(agent, suppressed, stderr = %text.trim_end(), "agent wrote to stderr");
    }
    line.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_end_is_kept() {
        let text = format!("{}the end\n", "x\n".repeat(10_000));
        let mut stderr = Stderr::new(text.as_bytes(), "a");
        while !stderr.is_closed() {
            stderr.drain().await.unwrap();
        }
        assert!(stderr.tail().ends_with("x\nthe end"));
        assert!(stderr.tail().len() <= TAIL_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_not_logged() {
        let mut rate = Rate::default();
        let passed = (0..1000).filter(|_| rate.pass().is_some()).count();
        assert_eq!(passed, 200);
        tokio::time::advance(RATE_WINDOW).await;
        assert_eq!((rate.pass(), rate.pass()), (Some(800), Some(0)));
    }
}
