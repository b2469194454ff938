//! Runs agents: pulls, admits, runs, commits.

pub mod agent;
pub mod agents;
mod attempt;
pub mod bus_ledger;
mod bytes;
mod cancel;
pub mod command;
pub mod context;
mod core;
pub mod engine;
mod execute;
mod group;
mod hand;
pub mod inputs;
mod intake;
mod lane;
pub mod ledger;
pub mod mesh;
pub mod node;
pub mod parts;
mod refuse;
pub mod registry;
pub mod role;
pub mod scribe;
pub mod served;

pub use context::delegate;
