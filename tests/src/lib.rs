//! The harness of the suites: a real nats-server, real processes, real signals.
//!
//! Nothing depends on this crate. A suite starts a [`mesh::Mesh`], breaks it, and asks the logs what became of
//! the tasks.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "what the harness cannot do fails the test that asks for it"
)]

pub mod conform;
pub mod cost;
pub mod door;
pub mod guest;
pub mod http;
pub mod issuer;
pub mod mesh;
pub mod oracle;
pub mod otlp;
pub mod pki;
pub mod play;
pub mod process;
pub mod proxy;
pub mod python;
pub mod raw;
pub mod sim;
pub mod wait;
pub mod webhook;
pub mod wire;
pub mod work;
