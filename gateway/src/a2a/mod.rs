//! A2A 1.0 as the doors speak it: requests, responses, events and errors, whatever the binding.
//!
//! JSON follows ProtoJSON: `camelCase` out, both spellings in, unknown fields ignored. The types that are more than the
//! gateway's (messages, tasks, cards) are `protocol`'s.

pub mod error;
pub mod number;
pub mod render;
pub mod request;
pub mod response;

/// The version spoken here, as `A2A-Version` names it.
pub const VERSION: &str = "1.0";
