//! The read model: an index of all tasks, made from the streams.
//!
//! It holds nothing that the streams do not hold, so it may be deleted at any time; whoever opens it reads on from
//! where it stands. It decides nothing: what it says may be some milliseconds old, and a task's own log is always
//! right. One process owns a file; several coordinators have a file each.

mod follow;
mod query;
mod rounds;
mod row;
mod store;

pub use follow::{FollowError, follow};
pub use query::QueryError;
pub use row::{Change, change};
pub use store::{Feed, OpenError, Projection, StoreError};
