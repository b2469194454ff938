//! Carries the engine's decisions out on the real bus.

pub(crate) mod calls;
pub(crate) mod care;
pub(crate) mod crash;
pub(crate) mod log;
pub(crate) mod poison;
pub(crate) mod skills;
