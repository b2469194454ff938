//! What a coordinator prefers when several choices are right. Pure: the registry and the time come in, a choice with its
//! reason goes out.

pub mod route;
