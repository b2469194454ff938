//! Finds a nats-server that is new enough and runs it as a child process.
//!
//! Everything that needs a server of its own goes through here (`weft dev`, `weft demo`, `weft
//! bench` and the tests), so that a fresh machine needs no install step and nobody else knows about
//! versions, ports, config files or signals. A production server is somebody else's process: this
//! module neither deploys nor configures one. Unix only.
//!
//! ```no_run
//! use weft_runtime::nats_server::{FindOptions, ServerSettings, find, start};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let found = find(&FindOptions::from_environment()).await?;
//! let server = start(&found, ServerSettings::new("/tmp/weft-data")).await?;
//! println!("{}", server.client_url());
//! # Ok(())
//! # }
//! ```

mod child;
mod cluster;
mod config;
mod download;
mod find;
mod guard;
mod monitor;
mod port;
mod spawn;
mod version;

pub use child::{ServerChild, SignalError, StartError, start};
pub use cluster::{Cluster, ClusterError, ClusterSettings};
pub use config::{
    Membership, Password, Passwords, Port, SYSTEM_USER, ServerSettings, SyncInterval, WEFT_USER,
};
pub use download::DownloadError;
pub use find::{FindError, FindOptions, Found, Place, Skipped, find};
pub use guard::Guard;
pub use version::{MINIMUM, PINNED, Unusable, Version};
