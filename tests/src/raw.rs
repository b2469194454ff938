//! A NATS client that checks nothing: for bytes that no client library would send.

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A connection, spoken to in the NATS protocol itself.
pub struct RawClient {
    stream: BufReader<TcpStream>,
}

impl RawClient {
    /// Connects without credentials to a `nats://host:port` URL.
    pub async fn connect(url: &str) -> Self {
        let address = url.trim_start_matches("nats://");
        let stream = TcpStream::connect(address).await.unwrap();
        let mut client = Self { stream: BufReader::new(stream) };
        assert!(client.line().await.starts_with("INFO "));
        let hello = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";
        client.send(hello).await;
        client.flush().await;
        client
    }

    /// Publishes with a header block as it is: `lines` stands between the version line and the empty line.
    pub async fn publish(&mut self, subject: &str, lines: &[u8], payload: &[u8]) {
        let block = [b"NATS/1.0\r\n", lines, b"\r\n"].concat();
        let total = block.len() + payload.len();
        let command = format!("HPUB {subject} {} {total}\r\n", block.len());
        self.send(&[command.as_bytes(), &block, payload, b"\r\n"].concat()).await;
        self.flush().await;
    }

    /// Waits until the server has taken everything so far.
    ///
    /// # Panics
    /// When the server reports an error.
    async fn flush(&mut self) {
        self.send(b"PING\r\n").await;
        loop {
            let line = self.line().await;
            assert!(!line.starts_with("-ERR"), "{line}");
            match line.as_str() {
                "PONG" => return,
                "PING" => self.send(b"PONG\r\n").await,
                _ => {}
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}
