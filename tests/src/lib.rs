//! The harness of the suites: a real nats-server, real processes, real signals.
//!
//! Nothing depends on this crate. A suite starts a [`mesh::Mesh`], breaks it, and asks the logs what became of
//! the tasks.

pub mod mesh;
pub mod process;
pub mod wait;
