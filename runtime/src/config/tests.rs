//! Every fault is found, wherever it stands, and what is left out has its default.

use super::*;

#[test]
fn all_faults_are_reported_together_with_their_places() {
    let faults = Settings::parse(
        r#"
        [bus]
        replicas = 2
        prefix = "a.b"
        [node]
        group_commit = "maybe"
        [[agents]]
        skill = "echo"
        kind = "echo"
        concurrency = 0
        [[agents]]
        skill = "echo"
        kind = "echo"
        [agents.retry]
        jitter = 2.0
        "#,
    )
    .unwrap_err();
    let places: Vec<_> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    for place in [
        "bus.replicas",
        "bus.prefix",
        "node.group_commit",
        "agents[0].concurrency",
        "agents[1].skill",
        "agents[1].retry.jitter",
    ] {
        assert!(places.contains(&place), "{place} is missing in {faults:?}");
    }
}

#[test]
fn durations_may_have_days() {
    let hour = 60 * 60;
    for (text, seconds) in [
        ("90d", Some(90 * 24 * hour)),
        ("1d 12h", Some(36 * hour)),
        ("1d12h", Some(36 * hour)),
        ("2h", Some(2 * hour)),
    ] {
        assert_eq!(text.parse().ok(), seconds.map(|it| Span(Duration::from_secs(it))), "{text}");
    }
    for text in ["d", "0.5d", "-1d", "1d-1h", "1dd", "99999999999999d", "1 day", ""] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

#[test]
fn a_key_that_cannot_be_read_hides_no_other() {
    let faults = Settings::parse(
        r#"
        colour = "red"
        [bus]
        replicas = "three"
        lease = "soon"
        servers = 7
        [node]
        drain_grase = "3s"
        group_commit = "maybe"
        [[agents]]
        skill = "a"
        timeout = "9e18s"
        [[agents]]
        kind = 7
        skill = "b c"
        [agents.retry]
        attempts = 3
        jitter = "much"
        backoff_max = "367 days"
        [[agents]]
        skill = "c"
        kind = "echo"
        timeout = "9000000000000000s"
        cancel_grace = "2 min"
        "#,
    )
    .unwrap_err();
    let mut places: Vec<_> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    places.sort_unstable();
    let expected = [
        "agents[0].kind",
        "agents[0].timeout",
        "agents[1].kind",
        "agents[1].retry.attempts",
        "agents[1].retry.backoff_max",
        "agents[1].retry.jitter",
        "agents[1].skill",
        "agents[2].cancel_grace",
        "agents[2].timeout",
        "bus.lease",
        "bus.replicas",
        "bus.servers",
        "colour",
        "node.drain_grase",
        "node.group_commit",
    ];
    assert_eq!(places, expected, "{faults:#?}");
    let text = faults.join("\n");
    assert!(text.contains("unknown field `drain_grase`, expected one of"), "{text}");
    assert_eq!(Settings::parse("[bus\n").unwrap_err().len(), 1);
    assert_eq!(Settings::parse("agents = 7").unwrap_err().len(), 1);
}

#[test]
fn a_misspelt_key_is_an_error() {
    assert!(Settings::parse("[node]\ndrain_grase = \"3s\"").is_err());
    assert!(
        Settings::parse("[[agents]]\nskill = \"a\"\nkind = \"echo\"\ntimeout = \"soon\"").is_err()
    );
}

#[test]
fn what_is_left_out_has_a_default() {
    let settings =
        Settings::parse("[[agents]]\nskill = \"a\"\nkind = \"echo\"\ntimeout = \"1m 30s\"")
            .unwrap();
    assert_eq!(settings.agents[0].timeout, Duration::from_secs(90));
    assert_eq!(settings.agents[0].concurrency, CONCURRENCY_DEFAULT);
    assert_eq!(settings.capacity, Capacity::default());
    assert_eq!(Settings::without_file().node.group_commit, "auto");
}

#[test]
fn unused_files_are_kept_for_a_day_unless_the_file_says_otherwise() {
    let read = |text: &str| Settings::parse(&format!("[coordinator]\n{text}"));
    for (text, kept) in [
        ("", Some(24 * 60 * 60)),
        ("unused_files_kept = \"0s\"", None),
        ("unused_files_kept = \"1s\"", Some(1)),
    ] {
        let kept = kept.map(Duration::from_secs);
        assert_eq!(read(text).unwrap().coordinator.unused_files_kept, kept, "{text}");
    }
    let faults = read("unused_files_kept = \"999ms\"").unwrap_err();
    assert!(faults[0].starts_with("coordinator.unused_files_kept"), "{faults:?}");
}

#[test]
fn ended_tasks_are_kept_for_ever_or_for_a_time_that_is_meant() {
    let read = |text: &str| Settings::parse(&format!("[coordinator]\n{text}"));
    for (text, kept) in
        [("", None), ("tasks_kept = \"0s\"", None), ("tasks_kept = \"2h\"", Some(2))]
    {
        let kept = kept.map(|hours| Duration::from_secs(hours * 60 * 60));
        assert_eq!(read(text).unwrap().coordinator.tasks_kept, kept, "{text}");
    }
    for text in ["tasks_kept = \"59m\"", "tasks_kept = \"4000d\"", "tasks_kept = 30"] {
        let faults = read(text).unwrap_err();
        assert!(
            faults.iter().all(|fault| fault.starts_with("coordinator.tasks_kept")),
            "{faults:?}"
        );
    }
}
