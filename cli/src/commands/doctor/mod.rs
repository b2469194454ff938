//! `weft doctor`: looks at a mesh and says what is wrong with it and what to do. Changes nothing.

mod judge;
mod monitor;

use gateway::push::census::Census;
use gateway::push::seal::Seals;
use runtime::bus::SystemBus;
use runtime::clock::Clock;

use crate::commands::mesh::asked;
use crate::failure::{Exit, Failure};
use crate::print::doctor::{Finding, Grade, findings};
use crate::session::{ClientArgs, Session};

/// Check server, streams, consumers, permissions, clock, agents, gateways, webhooks and dead letters
///
/// Exits with 1 when something failed. How the server syncs is known through --system-server, --monitor or a
/// coordinator that knew it; with --config, sizes and replicas are compared as well.
#[derive(clap::Args)]
pub(crate) struct Doctor {
    /// URL of the server's HTTP monitoring, which listens on port 8222 as a rule
    #[arg(long, value_name = "URL", env = "WEFT_MONITOR_URL", hide_env_values = true)]
    monitor: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    system: runtime::args::SystemArgs,
}

impl Doctor {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Session { client, mut printer, settings } =
            Session::open_to_diagnose(&self.client).await?;
        let clock = Clock::system();
        let bus = client.bus();
        let has_file = self.client.config.config.is_some();
        let capacity =
            if has_file { Some(asked(bus, &settings.capacity, &clock).await) } else { None };
        let diagnosis = bus.diagnose(capacity.as_ref(), &clock).await;
        let system = self.system(&settings).await;
        let (servers, store) = match &system {
            Some(Ok(system)) => tokio::join!(system.roll_call(), system.fullest_store()),
            Some(Err(_)) | None => (None, None),
        };
        let told = match &self.monitor {
            Some(url) => Some(monitor::ask(url).await),
            None => None,
        };
        let store = store.or_else(|| told.as_ref()?.as_ref().ok()?.store);
        let mut all = vec![judge::server(&bus.server())];
        all.extend(judge::leaders(&diagnosis.leaderless, servers));
        all.extend(judge::copies(&diagnosis.lagging));
        all.push(judge::sync(sync_always(system, told).await, diagnosis.noted_sync_always));
        all.extend(judge::existence(&diagnosis));
        all.extend(judge::fill(&diagnosis.streams, diagnosis.account, store));
        all.push(judge::clock(diagnosis.server_ahead_ms));
        let (names, log_seen) = (bus.names(), diagnosis.can_read(&bus.names().log));
        all.push(judge::coordinators(diagnosis.coordinators_pulling, log_seen));
        if !diagnosis.leaderless.is_empty() && !diagnosis.can_read(&names.agents) {
            all.push(Finding::new("agents", Grade::Unknown, "nobody can tell from here"));
        }
        // What cannot be read has been told already.
        if diagnosis.can_read(&names.agents) {
            match client.agents().await {
                Ok(agents) => all.extend(judge::agents(&agents, &diagnosis.skills, clock.now())),
                Err(error) => {
                    all.push(
                        Finding::new("agents", Grade::Failed, error.to_string())
                            .todo("give this user the permission to read the registry"),
                    );
                }
            }
        }
        all.push(judge::gateways(client.gateways().await.ok().as_deref()));
        let keys = &settings.gateway.push.seal_keys;
        let seals = if keys.is_empty() { None } else { Seals::open(keys).ok() };
        let named = seals.map(|seals| seals.names().map(str::to_owned).collect::<Vec<_>>());
        all.push(judge::webhooks(Census::take(bus).await.ok().as_ref(), named.as_deref()));
        if diagnosis.knows_consumers(&names.inbox) {
            all.extend(judge::never_served(&diagnosis.submissions, &diagnosis.skills));
        }
        all.push(judge::dead_letters(&diagnosis.dead_letters, log_seen));
        findings(&mut printer, &all)?;
        let failed = all.iter().filter(|finding| finding.grade == Grade::Failed).count();
        if failed == 0 {
            return Ok(());
        }
        Err(Failure::say(Exit::Failure, format!("checks failed: {failed}")))
    }

    /// The connection to the system account, if one is known.
    async fn system(
        &self,
        settings: &runtime::config::Settings,
    ) -> Option<Result<SystemBus, String>> {
        let main = match self.client.connection.bus(settings, "cli") {
            Ok(main) => main,
            Err(error) => return Some(Err(error.to_string())),
        };
        let system = self.system.bus(settings, &main)?;
        Some(SystemBus::connect(system).await.map_err(|error| error.to_string()))
    }
}

/// How the server syncs, from whoever tells: the system account, then the monitoring port.
async fn sync_always(
    system: Option<Result<SystemBus, String>>,
    told: Option<Result<monitor::Told, monitor::MonitorError>>,
) -> judge::Sync {
    let mut reasons = Vec::new();
    match system {
        None => {}
        Some(Err(reason)) => reasons.push(reason),
        Some(Ok(system)) => match system.sync_always().await {
            Some(always) => return judge::Sync::Known(always),
            None => reasons.push("the system account does not answer".to_owned()),
        },
    }
    match told {
        None => {}
        Some(Ok(told)) => return judge::Sync::Known(told.sync_always),
        Some(Err(error)) => reasons.push(error.to_string()),
    }
    judge::Sync::Unknown(reasons.join("; "))
}
