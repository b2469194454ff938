//! Carries the engine's decisions out on the real bus.

pub(crate) mod agents;
pub(crate) mod board;
pub(crate) mod calls;
mod cancel;
pub(crate) mod care;
pub(crate) mod crash;
pub(crate) mod kept;
mod lane;
pub(crate) mod lists;
pub(crate) mod log;
pub(crate) mod poison;
pub(crate) mod resolve;
mod said;
pub(crate) mod skills;
mod waiting;
