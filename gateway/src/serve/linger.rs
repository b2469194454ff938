//! The end of a connection over a request that was answered before it was read: what still comes is read and forgotten.
//!
//! A socket that is closed with unread bytes on it resets the connection, and the reset may overtake the answer: the client
//! that is still writing then sees a broken pipe instead of a 401. So the answer goes out at once, the sending half is
//! closed behind it, and the other half is read for a while, as servers for the open network do.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::{LINGER_BYTES_MAX, LINGER_SILENCE_MAX, LINGER_WAIT_MAX};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// What is left of a connection's patience.
pub(super) struct Linger {
    bytes_left: usize,
    ends_at: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Linger {
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        let silence = Box::pin(sleep_until(now + LINGER_SILENCE_MAX));
        Self { bytes_left: LINGER_BYTES_MAX, ends_at: now + LINGER_WAIT_MAX, silence }
    }

    /// Ready when the client has closed its half, or when it was waited for long enough.
    pub(super) fn poll(
        &mut self,
        mut stream: Pin<&mut (impl AsyncRead + ?Sized)>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut piece = [0; PIECE_BYTES];
        while self.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut piece);
            let Poll::Ready(read) = stream.as_mut().poll_read(context, &mut buffer) else {
                return self.silence.as_mut().poll(context);
            };
            let bytes = buffer.filled().len();
            let now = Instant::now();
            if read.is_err() || bytes == 0 || now >= self.ends_at {
                return Poll::Ready(());
            }
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            self.silence.as_mut().reset(self.ends_at.min(now + LINGER_SILENCE_MAX));
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_client_with_silence_and_with_too_much() {
        let lingers = async |stream: &mut (dyn AsyncRead + Unpin + Send)| {
            let (begun, mut linger) = (Instant::now(), Linger::begin());
            poll_fn(|context| linger.poll(Pin::new(&mut *stream), context)).await;
            (begun.elapsed(), LINGER_BYTES_MAX - linger.bytes_left)
        };
        let (mut client, mut server) = duplex(64);
        client.write_all(&[0; 50]).await.unwrap();
        drop(client);
        let (lasted, read) = lingers(&mut server).await;
        assert!(lasted.is_zero() && read == 50, "{lasted:?} {read}");

        let (_client, mut server) = duplex(64);
        assert_eq!(lingers(&mut server).await, (LINGER_SILENCE_MAX, 0));

        let (_, read) = lingers(&mut tokio::io::repeat(0)).await;
        assert_eq!(read, LINGER_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_drips_is_left_in_the_end() {
        let (mut client, mut server) = duplex(64);
        let (begun, mut linger) = (Instant::now(), Linger::begin());
        let drips = async {
            loop {
                tokio::time::sleep(LINGER_SILENCE_MAX / 2).await;
                client.write_all(b"x").await.unwrap();
            }
        };
        tokio::select! {
            () = poll_fn(|context| linger.poll(Pin::new(&mut server), context)) => {}
            () = drips => {}
        }
        assert_eq!(begun.elapsed(), LINGER_WAIT_MAX);
    }
}
