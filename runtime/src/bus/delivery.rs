//! One hand-out of a stored message by a durable consumer.

use std::time::Duration;

use bytes::Bytes;
use protocol::Timestamp;
use protocol::header::Headers;

use super::Bus;
use super::message::read_headers;

/// Where a delivery stands in its stream and consumer, read from its acknowledgement subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The message's sequence in the stream.
    pub sequence: u64,
    /// How often the message has been handed out, this time included.
    pub delivered: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// How many more messages wait behind it.
    pub pending: u64,
}

/// A delivery in hand.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message's subject.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
    /// Where it stands.
    pub position: Position,
    /// Where acknowledgements go.
    pub ack_subject: String,
}

impl Delivery {
    /// Reads a message that a consumer delivered; `None` when it is none.
    pub(super) fn read(message: async_nats::Message) -> Option<Self> {
        let ack_subject = message.reply?.into_string();
        let position = Position::parse(&ack_subject)?;
        Some(Self {
            subject: message.subject.into_string(),
            headers: message.headers.as_ref().map(read_headers).unwrap_or_default(),
            payload: message.payload,
            position,
            ack_subject,
        })
    }
}

impl Position {
    /// Reads `$JS.ACK[.<domain>.<account>].<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>`.
    fn parse(ack_subject: &str) -> Option<Self> {
        let mut tokens = [""; 10];
        let mut count = 0;
        for token in ack_subject.strip_prefix("$JS.ACK.")?.split('.') {
            *tokens.get_mut(count)? = token;
            count += 1;
        }
        let numbers = match count {
            7 => tokens.get(2..)?,
            // The long form ends in one random token on some servers.
            9 | 10 => tokens.get(4..)?,
            _ => return None,
        };
        let number = |at: usize| numbers.get(at)?.parse::<u64>().ok();
        Some(Self {
            delivered: number(0)?,
            sequence: number(1)?,
            stored_at: Timestamp::from_millis(i64::try_from(number(3)? / 1_000_000).ok()?),
            pending: number(4)?,
        })
    }
}

impl Bus {
    /// Settles a delivery: it does not come again.
    pub async fn ack(&self, ack_subject: impl Into<String>) {
        self.send_ack(ack_subject.into(), Bytes::from_static(b"+ACK")).await;
    }

    /// Gives a delivery back: it comes again, to anybody, after the wait.
    pub async fn nak(&self, ack_subject: impl Into<String>, after: Duration) {
        let body = if after.is_zero() {
            Bytes::from_static(b"-NAK")
        } else {
            Bytes::from(format!("-NAK {{\"delay\": {}}}", after.as_nanos()))
        };
        self.send_ack(ack_subject.into(), body).await;
    }

    /// Keeps a delivery in hand for another lease.
    pub async fn in_progress(&self, ack_subject: impl Into<String>) {
        self.send_ack(ack_subject.into(), Bytes::from_static(b"+WPI")).await;
    }

    async fn send_ack(&self, ack_subject: String, body: Bytes) {
        let sent = match self.shared.outbox.get() {
            Some(outbox) => outbox.tell(ack_subject, body).await,
            None => self.client.publish(ack_subject, body).await.map_err(|error| error.to_string()),
        };
        if let Err(reason) = sent {
            tracing::debug!(reason, "acknowledgement not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_ack_subject_are_read() {
        let expected = Position {
            sequence: 42,
            delivered: 3,
            stored_at: Timestamp::from_millis(1_700_000_000_123),
            pending: 5,
        };
        for text in [
            "$JS.ACK.WEFT_INBOX.skill-echo.3.42.40.1700000000123456789.5",
            "$JS.ACK._.acc.WEFT_INBOX.skill-echo.3.42.40.1700000000123456789.5",
            "$JS.ACK.hub.acc.WEFT_INBOX.skill-echo.3.42.40.1700000000123456789.5.rnd",
        ] {
            assert_eq!(Position::parse(text), Some(expected), "{text}");
        }
        for text in ["", "_INBOX.x", "$JS.ACK.a.b.c", "$JS.ACK.S.C.x.42.40.1.5"] {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }
}
