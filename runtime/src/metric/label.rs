//! Every label of a metric and every value that a label with few values may have.
//!
//! Values are fixed lists, so that a series exists from the start with zero and no input can add
//! one. The two open ones, a skill and a job, are bounded where they are made.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// The skill of a task or an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SkillLabel {
    /// Its name.
    pub skill: String,
}

/// What this process is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProcessLabel {
    /// `node`, `coordinator`, `gateway`, `dev`.
    pub role: String,
    /// The version of Weft.
    pub version: String,
}

/// A job of the process that failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabel {
    /// Its name in the supervisor.
    pub job: &'static str,
    /// How it failed.
    pub cause: JobFailureCause,
}

/// An error of the bus.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BusErrorLabel {
    /// Which sort.
    pub kind: BusErrorKind,
}

/// What a sweep found for one task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SweepLabel {
    /// What came of it.
    pub result: SweepResult,
}

/// A request at a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabel {
    /// The door: `jsonrpc`, `rest`, `grpc`, `card`, `file`, `plain`, `description`.
    pub door: &'static str,
    /// The operation, or `none` when it was not known.
    pub operation: &'static str,
    /// The HTTP status, or the one that belongs to the gRPC status.
    pub status: u32,
}

macro_rules! values {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$value,)*];

            /// As the label shows it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

values! {
    /// How a job of the process failed.
    JobFailureCause {
        /// It returned an error.
        Error = "error",
        /// It panicked.
        Panic = "panic",
    }
}

values! {
    /// Sorts of bus errors, as far as an operator acts on them differently.
    BusErrorKind {
        /// No answer within the limit.
        Timeout = "timeout",
        /// The connection broke or could not be made.
        Connection = "connection",
        /// The server forbids the subject.
        Permission = "permission",
        /// Nobody serves the subject: a stream or JetStream itself is missing.
        NoResponders = "no_responders",
        /// The stream is full.
        StreamFull = "stream_full",
        /// The client dropped messages that it could not take in time.
        SlowConsumer = "slow_consumer",
        /// The server refused for another reason.
        Server = "server",
    }
}

values! {
    /// What a sweep did about one task.
    SweepResult {
        /// Nothing: somebody works on it or it waits for good reason.
        Healthy = "healthy",
        /// No message stood for it any more, so it was queued again.
        Requeued = "requeued",
        /// What it waited for had come, so it was resumed.
        Resumed = "resumed",
        /// It was ended: past its deadline or out of attempts.
        Ended = "ended",
        /// Its log could not be read or written; the next sweep tries again.
        Failed = "failed",
    }
}
