//! What tasks cost: processor time of each process, and writes.

use std::time::Duration;

use protocol::topology::Names;
use runtime::bus::Bus;

use crate::load::count;
use crate::mesh::Mesh;
use crate::report::Cost;
use crate::{BenchError, proc};

/// Figures at one moment.
pub(crate) struct Meter {
    server: Duration,
    worker: Duration,
    submitter: Duration,
    coordinator: Duration,
    writes: u64,
}

impl Meter {
    /// Reads them; `worker` is the process that does the work, the submitter is this one.
    pub(crate) async fn read(mesh: &Mesh, worker: u32, bus: &Bus) -> Result<Self, BenchError> {
        let names: &Names = bus.names();
        let mut writes = 0;
        for stream in [&names.inbox, &names.log] {
            let state = bus.stream_state(stream).await;
            writes += state.map_err(|error| BenchError::weft("count writes")(&error))?.last_seq;
        }
        Ok(Self {
            server: proc::cpu(mesh.server_pid()?)?,
            worker: proc::cpu(worker)?,
            submitter: proc::cpu(std::process::id())?,
            coordinator: proc::cpu(mesh.coordinator.pid)?,
            writes,
        })
    }

    /// What each of so many tasks has cost since then.
    pub(crate) fn since(&self, before: &Self, tasks: usize) -> Cost {
        let each = |now: Duration, then: Duration| {
            now.saturating_sub(then).as_secs_f64() * 1e6 / count(tasks)
        };
        let writes = usize::try_from(self.writes - before.writes).unwrap_or(usize::MAX);
        Cost {
            server_micros: each(self.server, before.server),
            worker_micros: each(self.worker, before.worker),
            submitter_micros: each(self.submitter, before.submitter),
            coordinator_micros: each(self.coordinator, before.coordinator),
            writes: count(writes) / count(tasks),
        }
    }
}
