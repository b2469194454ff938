//! `weft mesh`: what the mesh has on the server, and bringing it up to this version.

use std::collections::BTreeSet;

use protocol::topology::Capacity;
use runtime::bus::{Bus, Fate};
use runtime::clock::Clock;

use crate::commands::dev;
use crate::failure::{Exit, Failure};
use crate::print::mesh;
use crate::session::{ClientArgs, Session};

/// Bring what the mesh has on the server up to this version
#[derive(clap::Args)]
pub(crate) struct Mesh {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    Upgrade(Upgrade),
}

/// Show what differs from what this version wants, before and after; with --apply, change what only adds
///
/// Nothing that would take something away or drop a stored message is changed: it is told, with the reason. Without
/// --config, replicas, sizes, ages and leases are left out. The mesh goes on meanwhile. Exits with 1 when --apply
/// leaves something.
#[derive(clap::Args)]
struct Upgrade {
    /// Change what only adds
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// What a settings file asks of the server. `weft dev` asks for less, so a mesh that has just that is one of its own,
/// and as it should be.
pub(crate) async fn asked(bus: &Bus, file: &Capacity, clock: &Clock) -> Capacity {
    let less = dev::one_machine(file);
    let differs = bus.diagnose(Some(&less), clock).await.differences;
    let is_dev = !differs.iter().any(|difference| difference.is_chosen(bus.names()));
    if is_dev { less } else { file.clone() }
}

impl Mesh {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Action::Upgrade(upgrade) = self.action;
        upgrade.run().await
    }
}

impl Upgrade {
    async fn run(self) -> Result<(), Failure> {
        let Session { client, mut printer, settings } = Session::open(&self.client).await?;
        let (bus, clock) = (client.bus(), Clock::system());
        let has_file = self.client.config.config.is_some();
        let capacity =
            if has_file { Some(asked(bus, &settings.capacity, &clock).await) } else { None };
        let capacity = capacity.as_ref();
        let skills = bus.diagnose(capacity, &clock).await.skills;
        let skills: BTreeSet<_> = skills.into_iter().map(|queue| queue.skill).collect();
        let skills: Vec<_> = skills.into_iter().collect();
        let mut plan = bus.plan_upgrade(capacity, &skills, clock.now()).await?;
        let done = if self.apply { bus.carry_out(&mut plan).await } else { Ok(()) };
        mesh::upgrade(&mut printer, &plan)?;
        done?;
        let left =
            plan.changes.iter().filter(|change| matches!(change.fate, Fate::Stays(_))).count();
        if !self.apply || left == 0 {
            return Ok(());
        }
        Err(Failure::say(Exit::Failure, format!("settings left as they are: {left}"))
            .todo("edit them with the nats command if that is what you want, or the settings file"))
    }
}
