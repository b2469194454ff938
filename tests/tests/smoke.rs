//! smoke
use client::{Client, Results, Submission};
use protocol::{Owner, Skill};
use runtime::bus::{Bus, BusSettings, Credentials, TlsFiles};
use runtime::config::Settings;
use runtime::metric::Metrics;
use runtime::nats_server::{FindOptions, ServerSettings, find, start};
use runtime::supervisor::Supervisor;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

fn bus(url: &str, role: &str) -> BusSettings {
    BusSettings {
        servers: url.to_owned(),
        credentials: Credentials::None,
        tls: TlsFiles::default(),
        role: role.to_owned(),
        subjects: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    tracing_subscriber::fmt().with_ansi(false).with_env_filter("warn").init();
    let dir = tempfile::tempdir().unwrap();
    let found = find(&FindOptions::from_environment()).await.unwrap();
    let server = start(&found, ServerSettings::new(dir.path())).await.unwrap();
    let url = server.client_url().to_string();
    let stop = CancellationToken::new();
    let settings = Settings::parse("[[agents]]\nskill=\"echo\"\nkind=\"echo\"\nconcurrency=256\n[[agents]]\nskill=\"probe\"\nkind=\"probe\"\n").unwrap();
    let c = coordinator::role::CoordinatorRole {
        bus: bus(&url, "coordinator"),
        system: Some(bus(&server.system_url().to_string(), "coordinator")),
        settings: settings.clone(),
        name: None,
        http: None,
        sync_always: None,
    };
    let s2 = stop.clone();
    let (tx, rx) = tokio::sync::oneshot::channel();
    let ch = tokio::spawn(async move {
        let r = coordinator::role::run(c, s2, move |r| {
            tx.send(r).unwrap();
        })
        .await;
        println!("coordinator {r:?}");
        r
    });
    rx.await.unwrap();
    let n = agent_node::role::NodeRole {
        bus: bus(&url, "node"),
        settings,
        name: None,
        http: None,
        base: ".".into(),
        kinds: &[],
    };
    let s2 = stop.clone();
    let (tx, rx) = tokio::sync::oneshot::channel();
    let nh = tokio::spawn(async move {
        agent_node::role::run(n, s2, move |r| {
            tx.send(r).unwrap();
        })
        .await
    });
    rx.await.unwrap();
    let bus = Bus::connect(bus(&url, "client")).await.unwrap();
    let client = Client::new(bus);
    let sup = Supervisor::new(Metrics::new("client"));
    let results = Results::open(client.clone(), Owner::default(), &sup).await.unwrap();
    let echo = Skill::parse("echo").unwrap();
    let t = Instant::now();
    let r = client.submit(Submission::new(echo.clone(), "hello")).await.unwrap();
    let end = results.end_of(&r.task, Duration::from_secs(5)).await.unwrap();
    println!("{:?} {}", t.elapsed(), serde_json::to_string(&end).unwrap());
    println!(
        "{}",
        serde_json::to_string_pretty(&client.task(&r.owner, &r.task).await.unwrap()).unwrap()
    );
    let probe = Skill::parse("probe").unwrap();
    println!("{:#?}", client.dead_letters(None, 10).await.unwrap());
    println!(
        "{:?}",
        client.list(&client::ListQuery { limit: 20, ..Default::default() }).await.unwrap()
    );
    println!("{:?}", client.agents().await.unwrap().len());
    let m = client
        .bus()
        .ask("weft.call.echo".into(), &Default::default(), "called".into(), Duration::from_secs(5))
        .await
        .unwrap();
    println!("{}", String::from_utf8_lossy(&m.payload));
    for inflight in [1_usize, 64, 256] {
        let n = if inflight == 1 { 1000 } else { 10000 };
        let t = Instant::now();
        use futures_util::StreamExt;
        let lat: Vec<Duration> = futures_util::stream::iter(0..n)
            .map(|_| {
                let (client, results, echo) = (client.clone(), results.clone(), echo.clone());
                async move {
                    let t = Instant::now();
                    let r = client.submit(Submission::new(echo, "hello")).await.unwrap();
                    let e = results.end_of(&r.task, Duration::from_secs(20)).await.unwrap();
                    if t.elapsed() > Duration::from_millis(200) {
                        println!(
                            "{} {:?} submitted {} at {} attempt {} gen {}",
                            r.task,
                            t.elapsed(),
                            e.origin
                                .as_ref()
                                .map(|o| o.submitted_at.to_string())
                                .unwrap_or_default(),
                            e.at,
                            e.attempt,
                            e.generation
                        );
                    }
                    t.elapsed()
                }
            })
            .buffer_unordered(inflight)
            .collect()
            .await;
        let mut lat = lat;
        lat.sort();
        println!(
            "{inflight}: {:.0}/s p50 {:?}",
            f64::from(n as u32) / t.elapsed().as_secs_f64(),
            lat[lat.len() / 2]
        );
    }
    stop.cancel();
    println!("{:?} {:?}", nh.await, ch.await);
}
