//! Looks after tasks that nobody is running: waiters, cancels, killed nodes, poisoned messages, calls.
//!
//! Any number of coordinators may be active at once. They keep no state that the logs do not have, and every write
//! they make is fenced; with none at all, plain tasks still flow.

pub mod command;
pub mod engine;
pub mod policy;
pub mod retire;
pub mod role;
mod shell;
