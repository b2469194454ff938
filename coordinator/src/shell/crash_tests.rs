//! Ends and beginnings of real connections, and what follows from them.

use runtime::bus::{Credentials, TlsFiles};
use runtime::health::Health;
use runtime::nats_server::{FindOptions, SYSTEM_USER, ServerSettings, find, start};

use super::*;

fn link(client: &str, number: u64) -> ClientLink {
    ClientLink { client: client.to_owned(), server: "s".to_owned(), number }
}

fn gone(client: &str, number: u64, reason: &str) -> ClientGone {
    ClientGone {
        link: link(client, number),
        reason: reason.to_owned(),
        at: protocol::Timestamp::default(),
    }
}

/// The clients that are found dead after a long time, without the second looks.
async fn dead(watched: &mut Watched) -> Vec<String> {
    tokio::time::advance(BACK_SOON).await;
    let mut found = Vec::new();
    while let Some(gone) = watched.take_due() {
        found.push(gone.link.client);
    }
    found
}

#[tokio::test(start_paused = true)]
async fn who_is_back_in_time_is_not_dead() {
    use ClientEvent::{Gone, Here};
    let client = "node-1";
    for (events, expected) in [
        (vec![Gone(gone(client, 1, "Client Closed"))], vec![client]),
        (vec![Gone(gone(client, 1, "Stale Connection"))], vec![client]),
        (vec![Gone(gone(client, 1, "Server Shutdown"))], vec![]),
        (vec![Here(link(client, 1)), Gone(gone(client, 1, "Read Error"))], vec![client]),
        (vec![Gone(gone(client, 1, "Client Closed")), Here(link(client, 2))], vec![]),
        // Another server may tell of the new connection first.
        (vec![Here(link(client, 2)), Gone(gone(client, 1, "Stale Connection"))], vec![]),
        (vec![Gone(gone(client, 1, "Client Closed")), Here(link("node-2", 2))], vec![client]),
    ] {
        let mut watched = Watched::new(Arc::default());
        for event in events.clone() {
            match event {
                Here(link) => watched.here(link),
                Gone(gone) => watched.gone(gone),
            }
        }
        assert_eq!(dead(&mut watched).await, expected, "{events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_looked_at_twice_and_the_thrown_out_later() {
    let mut watched = Watched::new(Arc::default());
    watched.gone(gone("node-1", 1, "Client Closed"));
    watched.gone(gone("node-2", 2, "Kicked"));
    tokio::time::advance(BACK_AT_ONCE).await;
    let next = |watched: &mut Watched| watched.take_due().map(|gone| gone.link.client);
    assert_eq!(next(&mut watched).as_deref(), Some("node-1"));
    assert_eq!(next(&mut watched), None);
    tokio::time::advance(LATE_WORD).await;
    assert_eq!(next(&mut watched).as_deref(), Some("node-1"));
    tokio::time::advance(BACK_SOON).await;
    assert_eq!(next(&mut watched).as_deref(), Some("node-2"));
    tokio::time::advance(LATE_WORD).await;
    assert_eq!(next(&mut watched).as_deref(), Some("node-2"));
    tokio::time::advance(LATE_WORD).await;
    assert_eq!(next(&mut watched), None);
}

fn settings(url: &str, role: &str, credentials: Credentials) -> BusSettings {
    BusSettings {
        servers: url.to_owned(),
        credentials,
        tls: TlsFiles::default(),
        role: role.to_owned(),
        subjects: protocol::subject::Subjects::default(),
    }
}

/// The end of a connection is told on another connection than what the client said last.
#[tokio::test]
async fn what_a_node_said_last_may_come_after_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let found = find(&FindOptions::from_environment()).await.unwrap();
    let server = start(&found, ServerSettings::new(dir.path())).await.unwrap();
    let url = server.client_url();
    let password = server.settings().passwords.system.expose().to_owned();
    let user = Credentials::User { user: SYSTEM_USER.to_owned(), password };
    let system = settings(&url, "system", user);
    let bus = Bus::connect(settings(&url, "coordinator", Credentials::None)).await.unwrap();
    assert_eq!(bus.account().await.as_deref(), Some("WEFT"));
    let mut naks = bus.subscribe("$JS.ACK.>".to_owned(), None).await.unwrap();
    let ear = SystemBus::connect(system.clone()).await.unwrap();
    let mut events = ear.clients(None, "test").await.unwrap();
    let (metrics, stop) = (Metrics::new("test"), CancellationToken::new());
    let giving = Giving {
        bus: bus.clone(),
        board: Arc::default(),
        jobs: Supervisor::new(metrics.clone()),
        metrics,
        poison: Arc::default(),
        check: Health::new().check("system account"),
    };
    let board = Arc::clone(&giving.board);
    let connected = giving.metrics.coordinator.system_connected.clone();
    let told = async {
        // An end that comes before somebody listens is the lease's business.
        while connected.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let node = Bus::connect(settings(&url, "node", Credentials::None)).await.unwrap();
        let client = node.client_name().to_owned();
        let ack = |number: u64| format!("$JS.ACK.S.C.1.{number}.1.1700000000123456789.0");
        let held = |number: u64| Holding {
            client: client.clone(),
            taken: vec![(number, ack(number))],
            ..Holding::default()
        };
        let name = NodeName::parse("n").unwrap();
        board.note(name.clone(), held(1));
        bus.flush().await;
        drop(node);
        loop {
            let event = events.next().await.unwrap();
            if matches!(event, ClientEvent::Gone(gone) if gone.link.client == client) {
                break;
            }
        }
        let first = naks.next().await.unwrap().subject;
        board.note(name, held(2));
        let late = naks.next().await.unwrap().subject;
        stop.cancel();
        assert_eq!([first, late], [ack(1), ack(2)]);
    };
    let serving = giving.serve(system, None, stop.clone());
    let both = Box::pin(async { tokio::join!(serving, told) });
    let (served, ()) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    served.unwrap();
}
