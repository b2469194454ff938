//! What Weft says on the wire, and the rules that follow from it.
//!
//! Everything here is pure: no runtime, no NATS, no clock, no files. Randomness and time come in as
//! arguments, so that a simulator can run every rule millions of times and every process of the mesh
//! decides alike. The I/O around it lives in `runtime` and above.

pub mod approval;
pub mod audit;
pub mod budget;
pub mod cancel;
pub mod card;
pub mod codec;
pub mod consequence;
pub mod contract;
pub mod dead;
pub mod entry;
pub mod fault;
pub mod gateway;
pub mod header;
pub mod history;
pub mod holding;
pub mod id;
pub mod input;
pub mod journal;
pub mod lifecycle;
pub mod limits;
pub mod log;
pub mod message;
pub mod need;
pub mod object;
pub mod query;
pub mod retry;
pub mod schema;
pub mod subject;
pub mod submission;
pub mod task;
pub mod time;
pub mod topology;
pub mod view;
pub mod wait;

pub use fault::{Failure, Fault};
pub use id::{ContextId, Lane, NodeName, Owner, Skill, TaskId};
pub use time::Timestamp;
