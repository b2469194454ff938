//! The kind `process` with real programs: what works, and everything that programs do wrong.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[path = "process/harness.rs"]
mod harness;

#[path = "process/durable.rs"]
mod durable;
#[path = "process/end.rs"]
mod end;
#[path = "process/failure.rs"]
mod failure;
#[path = "process/interrupt.rs"]
mod interrupt;
#[path = "process/once.rs"]
mod once;
#[path = "process/python.rs"]
mod python;
#[path = "process/requests.rs"]
mod requests;
#[path = "process/serve.rs"]
mod serve;
