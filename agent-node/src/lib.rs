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
mod duplicate;
pub mod engine;
mod execute;
mod gather;
mod group;
mod hand;
pub mod inputs;
mod intake;
mod lane;
pub mod ledger;
mod looks;
pub mod mesh;
pub mod node;
pub mod parts;
mod progress;
mod refuse;
pub mod registry;
mod report;
mod rewind;
pub mod role;
pub mod scribe;
pub mod served;
pub mod wakes;

pub use context::delegate;
