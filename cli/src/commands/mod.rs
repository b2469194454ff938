//! THE LIST of commands: one file each, and a line here in both lists.
//!
//! The help, the table in `COMMANDS.md` and the shell completions all come from it.

pub(crate) mod agent;
pub(crate) mod approval;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod completion;
pub(crate) mod coordinator;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod gateway;
pub(crate) mod help;
pub(crate) mod mesh;
pub(crate) mod node;
pub(crate) mod schema;
pub(crate) mod task;

use crate::failure::Failure;

macro_rules! list {
    ($($file:ident::$name:ident),* $(,)?) => {
        /// What `weft` can do.
        #[derive(clap::Subcommand)]
        pub(crate) enum Command {
            $($name($file::$name),)*
        }

        impl Command {
            /// Does it.
            pub(crate) async fn run(self) -> Result<(), Failure> {
                match self {
                    $(Self::$name(command) => Box::pin(command.run()).await,)*
                }
            }
        }

        #[cfg(test)]
        const FILES: &[&str] = &[$(stringify!($file)),*];
    };
}

list! {
    demo::Demo,
    dev::Dev,
    node::Node,
    coordinator::Coordinator,
    gateway::Gateway,
    task::Task,
    approval::Approval,
    agent::Agent,
    dlq::Dlq,
    audit::Audit,
    schema::Schema,
    doctor::Doctor,
    mesh::Mesh,
    bench::Bench,
    completion::Completion,
    help::Help,
}

#[cfg(test)]
mod tests;
