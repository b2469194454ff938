//! Reads what the stream's leader says: never stale, and legible whatever the headers look like.
//!
//! The leader's answers are JSON, so they also carry messages whose headers no client can parse.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::try_join_all;
use protocol::Timestamp;
use protocol::header::Headers;
use serde::Deserialize;

use super::{Bus, REQUEST_TIMEOUT, ReadError, StoredMessage};

/// Messages asked for at once on a walk: few enough that others who ask the leader do not feel it.
const WALK: u64 = 8;

impl Bus {
    /// The last message of a subject, from the stream's leader: never stale.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn last_from_leader(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<StoredMessage>, ReadError> {
        self.leader_get(stream, serde_json::json!({"last_by_subj": subject})).await
    }

    /// The first message of a subject at or after a sequence, from the stream's leader.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn next_from_leader(
        &self,
        stream: &str,
        subject: &str,
        from: u64,
    ) -> Result<Option<StoredMessage>, ReadError> {
        self.leader_get(stream, serde_json::json!({"seq": from, "next_by_subj": subject})).await
    }

    /// Shows every message of a stream under a filter from a sequence on, oldest first, as the leader has them. Returns
    /// where the next walk goes on. Slower than [`Bus::scan`], and stopped neither by a replica that lags nor by headers
    /// that no client can parse.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn walk(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        mut visit: impl FnMut(StoredMessage),
    ) -> Result<u64, ReadError> {
        let mut next = from.max(1);
        loop {
            let asked = (next..next + WALK).map(|from| self.next_from_leader(stream, filter, from));
            let found = try_join_all(asked).await?;
            let is_last = found.last().is_none_or(Option::is_none);
            // Where sequences are missing, several questions have the same answer.
            for message in found.into_iter().flatten() {
                if message.sequence >= next {
                    next = message.sequence + 1;
                    visit(message);
                }
            }
            if is_last {
                return Ok(next);
            }
        }
    }

    /// The message at a sequence, from the stream's leader, whatever its headers look like.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn at_from_leader(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<StoredMessage>, ReadError> {
        if sequence == 0 {
            return Ok(None);
        }
        self.leader_get(stream, serde_json::json!({"seq": sequence})).await
    }

    async fn leader_get(
        &self,
        stream: &str,
        body: serde_json::Value,
    ) -> Result<Option<StoredMessage>, ReadError> {
        Ok(self.leader_raw(stream, body).await?.and_then(LeaderMessage::read))
    }

    async fn leader_raw(
        &self,
        stream: &str,
        body: serde_json::Value,
    ) -> Result<Option<LeaderMessage>, ReadError> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let answer = self
            .question(subject.clone(), async_nats::HeaderMap::new(), body.to_string().into())
            .await
            .map_err(|why| self.read_error(stream, &subject, &why.to_string()))?;
        let answer: LeaderAnswer = serde_json::from_slice(&answer.payload)
            .map_err(|error| self.read_error(stream, &subject, &error.to_string()))?;
        match (answer.message, answer.error) {
            (Some(message), _) => Ok(Some(message)),
            // 10037: no message there.
            (None, Some(error)) if error.err_code == 10_037 => Ok(None),
            (None, error) => Err(self.read_error(
                stream,
                &subject,
                &error.map_or_else(|| "an empty answer".to_owned(), |error| error.description),
            )),
        }
    }

    /// The first message of a subject at or after a sequence, from the stream's leader, and whether a client could
    /// parse its headers.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn inspect_next(
        &self,
        stream: &str,
        subject: &str,
        from: u64,
    ) -> Result<Option<(StoredMessage, bool)>, ReadError> {
        let asked = serde_json::json!({"seq": from, "next_by_subj": subject});
        let found = self.leader_raw(stream, asked).await?;
        Ok(found.and_then(|message| {
            let block = message.hdrs.as_ref().and_then(|text| STANDARD.decode(text).ok());
            let readable = block.is_none_or(|block| well_formed(&block));
            Some((message.read()?, readable))
        }))
    }

    /// What each consumer of a stream may have in flight; those with nothing in flight are left out.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn in_flight(&self, stream: &str) -> Result<Vec<InFlight>, ReadError> {
        let subject = format!("$JS.API.CONSUMER.LIST.{stream}");
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let body = serde_json::json!({ "offset": offset }).to_string().into();
            let answer = self
                .ask(subject.clone(), &Headers::new(), body, REQUEST_TIMEOUT)
                .await
                .map_err(|error| self.read_error(stream, &subject, &error.reason))?;
            let page: ConsumerPage = serde_json::from_slice(&answer.payload)
                .map_err(|error| self.read_error(stream, &subject, &error.to_string()))?;
            if let Some(error) = page.error {
                return Err(self.read_error(stream, &subject, &error.description));
            }
            let listed = page.consumers.len();
            found.extend(page.consumers.into_iter().filter_map(ListedConsumer::in_flight));
            offset += listed;
            if listed == 0 || offset >= page.total {
                return Ok(found);
            }
        }
    }
}

/// What a consumer may have in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The consumer.
    pub consumer: String,
    /// The subjects it hands out.
    pub filters: Vec<String>,
    /// From its first unsettled message to the last it gave out.
    pub range: std::ops::RangeInclusive<u64>,
}

#[derive(Deserialize)]
struct ConsumerPage {
    #[serde(default)]
    total: usize,
    #[serde(default)]
    consumers: Vec<ListedConsumer>,
    error: Option<LeaderError>,
}

#[derive(Deserialize)]
struct ListedConsumer {
    name: String,
    config: ListedConfig,
    delivered: Place,
    ack_floor: Place,
    num_ack_pending: u64,
}

#[derive(Deserialize)]
struct ListedConfig {
    #[serde(default)]
    filter_subject: String,
    #[serde(default)]
    filter_subjects: Vec<String>,
}

#[derive(Deserialize)]
struct Place {
    stream_seq: u64,
}

impl ListedConsumer {
    fn in_flight(self) -> Option<InFlight> {
        let mut filters = self.config.filter_subjects;
        if filters.is_empty() {
            let one = self.config.filter_subject;
            filters.push(if one.is_empty() { ">".to_owned() } else { one });
        }
        (self.num_ack_pending > 0).then(|| InFlight {
            consumer: self.name,
            filters,
            range: self.ack_floor.stream_seq + 1..=self.delivered.stream_seq,
        })
    }
}

#[derive(Deserialize)]
struct LeaderAnswer {
    message: Option<LeaderMessage>,
    error: Option<LeaderError>,
}

#[derive(Deserialize)]
struct LeaderError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct LeaderMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
    time: String,
}

impl LeaderMessage {
    fn read(self) -> Option<StoredMessage> {
        let decode = |text: Option<String>| -> Option<Vec<u8>> {
            text.and_then(|text| STANDARD.decode(text).ok())
        };
        let headers = decode(self.hdrs).map(|bytes| header_lines(&bytes)).unwrap_or_default();
        Some(StoredMessage {
            sequence: self.seq,
            subject: self.subject,
            headers,
            payload: decode(self.data).unwrap_or_default().into(),
            at: Timestamp::parse(&self.time).ok()?,
        })
    }
}

/// Whether the client library would take a header block as one of a message: judged as it parses, since it panics
/// or drops the connection over what it does not take, and takes a status for its own.
fn well_formed(block: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(block) else { return false };
    let mut lines = text.lines().peekable();
    if lines.next().map(str::trim_end) != Some("NATS/1.0") {
        return false;
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { return false };
        let mut value = value.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        if !name.chars().all(|c| c.is_ascii_graphic()) || value.trim_end().contains('\r') {
            return false;
        }
    }
    true
}

/// Reads a header block leniently: bytes that are no UTF-8 are replaced.
fn header_lines(block: &[u8]) -> Headers {
    String::from_utf8_lossy(block)
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}
