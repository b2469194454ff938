//! Breaks the processes of a mesh at random, and starts them again.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use runtime::nats_server::ServerChild;
use tokio_util::sync::CancellationToken;
use weft_tests::process::Process;

/// How long a frozen process stays so: beyond the lease.
const FROZEN_FOR: Duration = Duration::from_millis(2_500);

/// What there is to break.
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Process>,
    pub(crate) coordinators: Vec<Process>,
    pub(crate) random: StdRng,
    pub(crate) done: Done,
}

/// What was broken.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) nodes_killed: usize,
    pub(crate) nodes_frozen: usize,
    pub(crate) nodes_drained: usize,
    pub(crate) coordinators_killed: usize,
    pub(crate) server_killed: usize,
}

impl Fleet {
    /// Breaks one thing after the other until `quiet`; the server once, as soon as `middle` says so. When this
    /// returns, everything runs.
    pub(crate) async fn torment(
        &mut self,
        server: &mut ServerChild,
        middle: impl Fn() -> bool,
        quiet: &CancellationToken,
    ) {
        while !quiet.is_cancelled() {
            let rest = Duration::from_millis(self.random.random_range(50..400));
            // The pace of the chaos, not a wait for anything.
            tokio::time::timeout(rest, quiet.cancelled()).await.ok();
            if middle() && self.done.server_killed == 0 {
                self.done.server_killed += 1;
                server.kill().await;
                server.restart().await.unwrap();
            }
            self.break_one().await;
        }
    }

    async fn break_one(&mut self) {
        let victim = self.random.random_range(0..self.nodes.len());
        match self.random.random_range(0..10) {
            0..5 => {
                self.done.nodes_killed += 1;
                self.nodes[victim].kill().await;
                restart(&mut self.nodes[victim]).await;
            }
            5 | 6 => {
                self.done.nodes_frozen += 1;
                self.nodes[victim].freeze();
                tokio::time::sleep(FROZEN_FOR).await;
                self.nodes[victim].thaw();
            }
            7 => {
                self.done.nodes_drained += 1;
                self.nodes[victim].terminate();
                let status = self.nodes[victim].ended().await;
                assert_eq!(status.code(), Some(0), "{}", self.nodes[victim].said());
                restart(&mut self.nodes[victim]).await;
            }
            _ => {
                self.done.coordinators_killed += 1;
                let one = self.random.random_range(0..self.coordinators.len());
                self.coordinators[one].kill().await;
                restart(&mut self.coordinators[one]).await;
            }
        }
    }
}

async fn restart(process: &mut Process) {
    assert!(process.restart().await, "{} does not start: {}", process.orders.name, process.said());
}
