//! The doors in front of the mesh: A2A over JSON-RPC, HTTP+JSON and gRPC, and plain REST.
//!
//! A gateway keeps no state that the bus does not have: any number may run, each answers for all, and one that dies
//! takes nothing along. Every request goes the same way: the accept loop ([`serve`]), who asks and whether they may
//! ([`auth`]), the door that speaks the client's binding ([`doors`]), and the one core that all doors share ([`core`]).

pub mod a2a;
pub mod auth;
pub mod cards;
pub mod command;
pub mod core;
pub mod doors;
pub mod files;
pub mod limits;
pub mod push;
mod ready;
mod registry;
pub mod role;
pub mod serve;
