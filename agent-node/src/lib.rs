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
pub mod delegate;
pub mod engine;
mod execute;
mod group;
mod hand;
mod intake;
pub mod ledger;
pub mod node;
pub mod parts;
pub mod registry;
pub mod role;
pub mod scribe;
pub mod served;
