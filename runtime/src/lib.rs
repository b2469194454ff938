//! What every process of the mesh needs, whatever its job: the bus, supervision, settings, telemetry.

pub mod args;
pub mod bus;
pub mod clock;
pub mod config;
pub mod health;
pub mod link;
pub mod metric;
pub mod nats_server;
pub mod process;
pub mod role;
pub mod supervisor;
pub mod telemetry;
