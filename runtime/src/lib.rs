//! Skeleton.
pub mod nats_server;
