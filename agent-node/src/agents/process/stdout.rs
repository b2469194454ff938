//! Cuts what a program writes to its standard output into lines, within a limit.
//!
//! Never holds more than one unfinished line, and of that at most one byte beyond the limit: whoever writes
//! an endless line is noticed there and not buffered on.

use std::io;
use std::os::fd::AsFd;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What one read takes at most, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// A line is longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {limit} bytes")]
pub(super) struct LineTooLong {
    /// The limit in bytes, the newline not counted.
    pub(super) limit: usize,
}

/// Lines from a pipe.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no newline.
    scanned: usize,
    limit: usize,
    closed: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(source: R, limit: usize) -> Self {
        Self { source, buffer: BytesMut::new(), scanned: 0, limit, closed: false }
    }

    /// Whether the other side has closed the pipe.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the next whole line that is already here, without its newline. Empty lines are skipped.
    pub(super) fn pop(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
            let Some(offset) = unseen.iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.buffer.len();
                if self.buffer.len() > self.limit {
                    return Err(LineTooLong { limit: self.limit });
                }
                return Ok(None);
            };
            let mut line = self.buffer.split_to(self.scanned + offset + 1);
            line.truncate(self.scanned + offset);
            self.scanned = 0;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line.freeze()));
            }
        }
    }

    /// Reads once. Call [`Lines::pop`] until it is empty first. Dropped halfway, it has read nothing.
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        let room = self.room();
        self.buffer.reserve(room);
        let read = self.source.read_buf(&mut (&mut self.buffer).limit(room)).await?;
        self.closed = read == 0;
        Ok(())
    }

    /// Takes what follows the last newline.
    pub(super) fn take_rest(&mut self) -> Bytes {
        self.scanned = 0;
        self.buffer.split().freeze()
    }

    fn room(&self) -> usize {
        (self.limit + 1).saturating_sub(self.buffer.len()).clamp(1, CHUNK_BYTES)
    }
}

impl<R: AsyncRead + Unpin + AsFd> Lines<R> {
    /// As [`Lines::fill`], with what is in the pipe already. Whether there was something.
    ///
    /// Asks the operating system and not the runtime, which may not have heard of it yet.
    pub(super) fn fill_now(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; self.room()];
        let Some(read) = read_now(&self.source, &mut chunk)? else { return Ok(false) };
        self.closed = read == 0;
        self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(read > 0)
    }
}

/// Reads from a pipe that does not block. `None` when nothing is there.
pub(super) fn read_now(source: &impl AsFd, chunk: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::retry_on_intr(|| rustix::io::read(source, &mut *chunk)) {
        Ok(read) => Ok(Some(read)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8], limit: usize) -> (Vec<String>, Result<Bytes, LineTooLong>) {
        let mut lines = Lines::new(input, limit);
        let mut found = Vec::new();
        loop {
            match lines.pop() {
                Ok(Some(line)) => found.push(String::from_utf8(line.to_vec()).unwrap()),
                Ok(None) if lines.is_closed() => return (found, Ok(lines.take_rest())),
                Ok(None) => lines.fill().await.unwrap(),
                Err(error) => return (found, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_cut_at_newlines_within_the_limit() {
        let too_long = Err(LineTooLong { limit: 4 });
        for (input, lines, rest) in [
            (&b""[..], &[][..], Ok(&b""[..])),
            (b"a\nbb\n", &["a", "bb"], Ok(b"")),
            (b"a\n\n \r\nb\r\nc", &["a", "b\r"], Ok(b"c")),
            (b"1234\n1234\n", &["1234", "1234"], Ok(b"")),
            (b"1234\n12345\n", &["1234"], too_long),
            (b"1\n1234567", &["1"], too_long),
        ] {
            let found = all(input, 4).await;
            assert_eq!(
                found,
                (lines.iter().map(|l| (*l).to_owned()).collect(), rest.map(Bytes::from_static))
            );
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_not_buffered_beyond_the_limit() {
        let mut lines = Lines::new(tokio::io::repeat(b'x'), 100_000);
        while lines.pop() == Ok(None) {
            lines.fill().await.unwrap();
        }
        assert_eq!(lines.pop(), Err(LineTooLong { limit: 100_000 }));
        assert_eq!(lines.take_rest().len(), 100_001);
    }
}
