//! Decides what findings mean. Nothing here asks a server or a clock.

use std::collections::{BTreeMap, BTreeSet};

use gateway::push::census::Census;
use protocol::card::Registration;
use protocol::gateway::GatewayRegistration;
use protocol::limits::HEARTBEAT_TTL;
use protocol::{Skill, Timestamp};
use runtime::bus::{
    AccountFill, Diagnosis, Lagging, RollCall, ServerFacts, SkillQueue, StreamFill,
};

use crate::print::doctor::{Finding, Grade};
use crate::print::table::size;

/// Beyond this a stream's fill is worth a look, in percent.
const FILL_WARNING_PERCENT: u64 = 80;
/// Beyond this it is about to refuse.
const FILL_FAILED_PERCENT: u64 = 95;
/// Clocks that differ by less disturb nothing: deadlines and timers are in seconds.
const CLOCK_WARNING_MS: u64 = 500;
/// Beyond this, deadlines and retries are visibly wrong.
const CLOCK_FAILED_MS: u64 = 5_000;

/// What is known about how the server syncs.
pub(super) enum Sync {
    Known(bool),
    /// And why.
    Unknown(String),
}

pub(super) fn server(facts: &ServerFacts) -> Finding {
    // Older ones were refused when the connection was made.
    let payload = size(u64::try_from(facts.payload_bytes_max).unwrap_or(u64::MAX));
    let found = format!("nats-server {} ({}), messages up to {payload}", facts.version, facts.name);
    Finding::new("server", Grade::Ok, found)
}

pub(super) fn sync(sync: Sync, noted_always: Option<bool>) -> Finding {
    match (sync, noted_always) {
        (Sync::Known(true), Some(true)) => {
            Finding::new("sync", Grade::Ok, "every write is synced")
        }
        (Sync::Known(true), Some(false) | None) => {
            let found = "every write is synced, but the consumers do not say so: nodes do not share file syncs";
            Finding::new("sync", Grade::Warning, found)
                .todo("set node.group_commit = \"on\"; consumers created by a coordinator with --system-server say so by themselves")
        }
        (Sync::Known(false), _) | (Sync::Unknown(_), Some(false)) => Finding::new(
            "sync",
            Grade::Warning,
            "writes are synced every two minutes: a power cut on all servers loses what was acknowledged",
        )
        .todo("set sync_interval: always in the jetstream block of the server (weft dev --sync always)"),
        (Sync::Unknown(_), Some(true)) => {
            Finding::new("sync", Grade::Ok, "every write is synced, as a coordinator noted")
        }
        (Sync::Unknown(reason), None) => {
            let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            Finding::new("sync", Grade::Unknown, format!("nobody here knows how writes are synced{because}"))
                .todo("give --system-server or --monitor")
        }
    }
}

/// What has no leader at this moment. `servers` says which answer, if the system account could be asked.
pub(super) fn leaders(leaderless: &[(String, String)], servers: Option<RollCall>) -> Vec<Finding> {
    let short = servers.filter(|servers| servers.answered < servers.of);
    let answers =
        short.map(|RollCall { answered, of }| format!("{answered} of {of} servers answer"));
    let Some((_, reason)) = leaderless.first() else {
        let found = answers.map(|answers| {
            Finding::new("servers", Grade::Warning, answers)
                .todo("start the others: one more that goes down may stop the mesh")
        });
        return found.into_iter().collect();
    };
    let what: Vec<&str> = leaderless.iter().map(|(what, _)| what.as_str()).collect();
    let mut found = format!("no leader for {} ({reason})", what.join(", "));
    if let Some(answers) = answers {
        found = format!("{answers}; {found}");
    }
    vec![Finding::new("servers", Grade::Failed, found).todo(
        "more than half of the servers must run; if they do, an election is under way: look again in 15 s",
    )]
}

/// Copies that could not stand in for their leader now.
pub(super) fn copies(lagging: &[Lagging]) -> Vec<Finding> {
    let mut by_server: BTreeMap<(&str, bool), (Vec<&str>, u64)> = BTreeMap::new();
    for copy in lagging {
        let (streams, behind) = by_server.entry((&copy.server, copy.offline)).or_default();
        streams.push(&copy.stream);
        *behind = copy.behind.max(*behind);
    }
    let finding = |((server, offline), (streams, behind)): ((&str, bool), (Vec<&str>, u64))| {
        let streams = streams.join(", ");
        if offline {
            Finding::new("copies", Grade::Warning, format!("{server} is offline: {streams}"))
                .todo("start that server: until then one more failure may stop the mesh")
        } else {
            let found = format!("{server} is up to {behind} operations behind: {streams}");
            Finding::new("copies", Grade::Warning, found)
                .todo("wait until it has caught up before you take another server down")
        }
    };
    by_server.into_iter().map(finding).collect()
}

/// Streams, consumers, buckets and what this user may do with them.
pub(super) fn existence(diagnosis: &Diagnosis) -> Vec<Finding> {
    let mut all: Vec<Finding> = diagnosis
        .missing
        .iter()
        .map(|what| {
            Finding::new("streams", Grade::Failed, format!("{what} does not exist"))
                .todo("start a coordinator: it creates what is missing")
        })
        .collect();
    all.extend(diagnosis.differences.iter().map(|difference| {
        let (what, setting) = (&difference.what, difference.setting);
        let found =
            format!("{what}: {setting} is {}, wanted {}", difference.found, difference.wanted);
        Finding::new("streams", Grade::Warning, found).todo(
            "weft mesh upgrade shows what adds and does it when told; weft never overwrites settings by itself",
        )
    }));
    if all.is_empty() && !diagnosis.leaderless.is_empty() {
        all.push(Finding::new("streams", Grade::Unknown, "not all of them answer"));
    } else if all.is_empty() && !diagnosis.streams.is_empty() {
        all.push(Finding::new(
            "streams",
            Grade::Ok,
            "streams, buckets and consumers are as wanted",
        ));
    }
    all.extend(diagnosis.unreadable.iter().map(|(what, reason)| {
        Finding::new("permissions", Grade::Failed, format!("{what}: {reason}"))
            .todo("give this user the permission, or diagnose as an operator")
    }));
    if diagnosis.unreadable.is_empty() && !diagnosis.leaderless.is_empty() {
        all.push(Finding::new("permissions", Grade::Unknown, "not everything answers"));
    } else if diagnosis.unreadable.is_empty() && !diagnosis.streams.is_empty() {
        all.push(Finding::new("permissions", Grade::Ok, "this user may submit and read"));
    }
    all
}

/// `store` is that of the server with least room left.
pub(super) fn fill(
    streams: &[StreamFill],
    account: Option<AccountFill>,
    store: Option<AccountFill>,
) -> Vec<Finding> {
    let streams = streams.iter().map(|stream| {
        let messages = counted(stream.messages, "message", "messages");
        let held = format!("{} holds {messages}", stream.name);
        fill_of(&held, stream.bytes, stream.bytes_max, "no limit of its own, the account's holds")
    });
    let account = account.map(|account| {
        fill_of(
            "the account",
            account.bytes,
            account.bytes_max,
            "no limit of its own, the server's holds",
        )
    });
    let store = store.map(|store| {
        fill_of("the server's store", store.bytes, store.bytes_max, "as much as the disk holds")
    });
    streams.chain(account).chain(store).collect()
}

fn fill_of(what: &str, bytes: u64, bytes_max: Option<u64>, unlimited: &str) -> Finding {
    let Some(max) = bytes_max else {
        return Finding::new("fill", Grade::Ok, format!("{what}, {}; {unlimited}", size(bytes)));
    };
    let percent = bytes.saturating_mul(100) / max.max(1);
    let found = format!("{what}, {}, {percent}% of {}", size(bytes), size(max));
    let grade = match percent {
        FILL_FAILED_PERCENT.. => Grade::Failed,
        FILL_WARNING_PERCENT.. => Grade::Warning,
        _ => return Finding::new("fill", Grade::Ok, found),
    };
    Finding::new("fill", grade, found)
        .todo("raise the limit, or let ended tasks go (coordinator.tasks_kept); what is full refuses at once")
}

pub(super) fn clock(server_ahead_ms: Option<i64>) -> Finding {
    let Some(ahead) = server_ahead_ms else {
        return Finding::new("clock", Grade::Unknown, "the server does not tell its time");
    };
    let by = ahead.unsigned_abs();
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    let found = format!("the server is {by} ms {way} this machine");
    let grade = if by > CLOCK_FAILED_MS {
        Grade::Failed
    } else if by > CLOCK_WARNING_MS {
        Grade::Warning
    } else {
        return Finding::new("clock", Grade::Ok, found);
    };
    Finding::new("clock", grade, found)
        .todo("run a time service (NTP) on both: deadlines and retries follow the clock")
}

/// `seen` says whether the stream with the coordinators' consumer could be read.
pub(super) fn coordinators(pulling: Option<usize>, seen: bool) -> Finding {
    match pulling {
        None if !seen => Finding::new("coordinators", Grade::Unknown, "nobody can tell from here"),
        Some(0) | None => Finding::new("coordinators", Grade::Warning, "no coordinator is at work")
            .todo("start one (weft coordinator): without it waiting tasks do not go on and queued ones cannot be canceled"),
        Some(requests) => {
            Finding::new("coordinators", Grade::Ok, format!("at work ({requests} open pulls)"))
        }
    }
}

pub(super) fn agents(
    agents: &[Registration],
    queues: &[SkillQueue],
    now: Timestamp,
) -> Vec<Finding> {
    let serving: BTreeSet<&Skill> =
        agents.iter().filter(|agent| !agent.draining).map(|agent| &agent.skill).collect();
    let nodes: BTreeSet<_> = agents.iter().map(|agent| &agent.node).collect();
    let mut all = Vec::new();
    if agents.is_empty() {
        all.push(
            Finding::new("agents", Grade::Warning, "there are no agents")
                .todo("start a node (weft node --config weft.toml)"),
        );
    } else {
        let found = format!("skills served: {}, nodes: {}", serving.len(), nodes.len());
        all.push(Finding::new("agents", Grade::Ok, found));
    }
    for agent in agents.iter().filter(|agent| now.since(agent.seen_at) > HEARTBEAT_TTL) {
        let age = now.since(agent.seen_at).as_secs();
        let found = format!("{} on {} was last seen {age} s ago", agent.skill, agent.node);
        all.push(
            Finding::new("agents", Grade::Warning, found)
                .todo("look at that node; if it is well, its clock or ours is wrong"),
        );
    }
    let mut waiting: BTreeMap<&Skill, u64> = BTreeMap::new();
    for queue in queues.iter().filter(|queue| queue.pending > 0) {
        *waiting.entry(&queue.skill).or_default() += queue.pending;
    }
    all.extend(waiting.into_iter().filter(|(skill, _)| !serving.contains(skill)).map(
        |(skill, count)| {
            let found = format!(
                "{} for skill {skill} and nobody serves it",
                counted(count, "task waits", "tasks wait")
            );
            Finding::new("agents", Grade::Failed, found)
                .todo(format!("start a node with an agent for skill {skill}, or cancel the tasks"))
        },
    ));
    all
}

/// The gateways that announce themselves; a mesh needs none. `None`: their registry could not be read.
pub(super) fn gateways(found: Option<&[GatewayRegistration]>) -> Finding {
    let Some(found) = found else {
        return Finding::new("gateways", Grade::Unknown, "nobody can tell from here");
    };
    let is_full = |one: &&GatewayRegistration| one.connections >= one.connections_max;
    if let Some(GatewayRegistration { name, connections, .. }) = found.iter().find(is_full) {
        let said = format!("{name} has {connections} connections, all that it takes");
        return Finding::new("gateways", Grade::Warning, said)
            .todo("start another one, or raise gateway.limits.connections");
    }
    let said = match found.len() {
        0 => "none; clients of A2A and HTTP need one".to_owned(),
        count => format!("at work: {count} (weft gateway list)"),
    };
    Finding::new("gateways", Grade::Ok, said)
}

/// How webhooks are stored. `None`: their bucket could not be read. `named`: the keys that the settings name, if they can be
/// read here.
pub(super) fn webhooks(census: Option<&Census>, named: Option<&[String]>) -> Finding {
    const CHECK: &str = "webhooks";
    let Some(Census { open, sealed }) = census else {
        return Finding::new(CHECK, Grade::Unknown, "nobody can tell from here");
    };
    let is_strange = |key: &str| named.is_some_and(|named| named.iter().all(|name| name != key));
    if let Some((key, count)) = sealed.iter().find(|(key, _)| is_strange(key)) {
        let count = counted(*count, "webhook is", "webhooks are");
        let said = format!("{count} sealed with key {key}, which the settings do not name");
        return Finding::new(CHECK, Grade::Warning, said)
            .todo("give all gateways the file of that key too, behind the first of gateway.push.seal_keys");
    }
    let keys: Vec<String> = sealed.iter().map(|(key, count)| format!("{key} {count}")).collect();
    let keys = if keys.is_empty() { String::new() } else { format!("sealed: {}", keys.join(", ")) };
    if *open == 0 {
        let found = if keys.is_empty() { "none".to_owned() } else { keys };
        return Finding::new(CHECK, Grade::Ok, found);
    }
    let count = counted(*open, "is stored with its", "are stored with their");
    let rest = if keys.is_empty() { keys } else { format!("; {keys}") };
    Finding::new(CHECK, Grade::Warning, format!("{count} credentials in the clear{rest}"))
        .todo("give all gateways gateway.push.seal_keys; a webhook is sealed when it is told next")
}

/// Skills that somebody asks for and that no node has ever served: without a consumer nothing waits anywhere.
pub(super) fn never_served(
    submissions: &BTreeMap<Skill, u64>,
    queues: &[SkillQueue],
) -> Vec<Finding> {
    let known: BTreeSet<&Skill> = queues.iter().map(|queue| &queue.skill).collect();
    let unknown = submissions.iter().filter(|(skill, _)| !known.contains(skill));
    let finding = |(skill, count): (&Skill, &u64)| {
        let count = counted(*count, "task was", "tasks were");
        let found = format!("{count} submitted to skill {skill}, which no node has ever served");
        Finding::new("agents", Grade::Warning, found)
            .todo(format!("start a node with an agent for skill {skill}, or correct who submits"))
    };
    unknown.map(finding).collect()
}

/// `seen` says whether the stream that holds them could be read.
pub(super) fn dead_letters(counts: &BTreeMap<Skill, u64>, seen: bool) -> Finding {
    if !seen {
        return Finding::new("dead letters", Grade::Unknown, "nobody can tell from here");
    }
    let total: u64 = counts.values().sum();
    if total == 0 {
        return Finding::new("dead letters", Grade::Ok, "none");
    }
    let each: Vec<String> =
        counts.iter().map(|(skill, count)| format!("{skill} {count}")).collect();
    let found = format!("{}: {}", counted(total, "waits", "wait"), each.join(", "));
    Finding::new("dead letters", Grade::Warning, found)
        .todo("weft dlq list shows them; redrive or discard each")
}

/// A count and its words.
fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skill() -> Skill {
        Skill::parse("echo").unwrap()
    }

    fn gateway(connections: u32) -> GatewayRegistration {
        GatewayRegistration {
            name: protocol::NodeName::parse("g").unwrap(),
            listen: "127.0.0.1:8080".to_owned(),
            url: None,
            secure: false,
            connections,
            connections_max: 10,
            streams: 0,
            started_at: Timestamp::default(),
            seen_at: Timestamp::default(),
            weft_version: String::new(),
        }
    }

    fn grade_of(bytes: u64, bytes_max: Option<u64>) -> Grade {
        let stream = StreamFill { name: "S".to_owned(), messages: 1, bytes, bytes_max };
        let account = Some(AccountFill { bytes, bytes_max });
        let found = fill(&[stream], account, account);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|one| one.grade == found[0].grade));
        found[0].grade
    }

    /// A webhook that the key `k` has sealed.
    fn sealed() -> Census {
        Census { open: 0, sealed: BTreeMap::from([("k".to_owned(), 1)]) }
    }

    #[test]
    fn each_number_has_its_grade() {
        for (found, expected) in [
            (grade_of(79, Some(100)), Grade::Ok),
            (grade_of(80, Some(100)), Grade::Warning),
            (grade_of(95, Some(100)), Grade::Failed),
            (grade_of(1, None), Grade::Ok),
            (clock(Some(-500)).grade, Grade::Ok),
            (clock(Some(501)).grade, Grade::Warning),
            (clock(Some(-5_001)).grade, Grade::Failed),
            (clock(None).grade, Grade::Unknown),
            (coordinators(Some(0), true).grade, Grade::Warning),
            (coordinators(None, true).grade, Grade::Warning),
            (coordinators(None, false).grade, Grade::Unknown),
            (coordinators(Some(1), true).grade, Grade::Ok),
            (gateways(None).grade, Grade::Unknown),
            (gateways(Some(&[])).grade, Grade::Ok),
            (gateways(Some(&[gateway(9)])).grade, Grade::Ok),
            (gateways(Some(&[gateway(0), gateway(10)])).grade, Grade::Warning),
            (webhooks(None, None).grade, Grade::Unknown),
            (webhooks(Some(&Census::default()), None).grade, Grade::Ok),
            (webhooks(Some(&Census { open: 1, ..Census::default() }), None).grade, Grade::Warning),
            (webhooks(Some(&sealed()), None).grade, Grade::Ok),
            (webhooks(Some(&sealed()), Some(&["k".to_owned()])).grade, Grade::Ok),
            (webhooks(Some(&sealed()), Some(&["other".to_owned()])).grade, Grade::Warning),
            (dead_letters(&BTreeMap::new(), true).grade, Grade::Ok),
            (dead_letters(&BTreeMap::new(), false).grade, Grade::Unknown),
            (dead_letters(&BTreeMap::from([(skill(), 2)]), true).grade, Grade::Warning),
            (sync(Sync::Known(true), Some(true)).grade, Grade::Ok),
            (sync(Sync::Known(true), Some(false)).grade, Grade::Warning),
            (sync(Sync::Known(false), Some(true)).grade, Grade::Warning),
            (sync(Sync::Unknown(String::new()), Some(true)).grade, Grade::Ok),
            (sync(Sync::Unknown(String::new()), Some(false)).grade, Grade::Warning),
            (sync(Sync::Unknown(String::new()), None).grade, Grade::Unknown),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn tasks_that_nobody_serves_are_a_failure() {
        let queue = |pending| SkillQueue {
            skill: skill(),
            stream: "S".to_owned(),
            pending,
            in_hand: 0,
            pulling: 0,
        };
        let worst = |queues: &[SkillQueue]| {
            agents(&[], queues, Timestamp::default()).iter().map(|f| f.grade).max()
        };
        assert_eq!(worst(&[queue(0)]), Some(Grade::Warning));
        assert_eq!(worst(&[queue(1), queue(2)]), Some(Grade::Failed));
        let submitted = BTreeMap::from([(skill(), 1)]);
        assert_eq!(never_served(&submitted, &[]).len(), 1);
        assert!(never_served(&submitted, &[queue(0)]).is_empty());
    }

    #[test]
    fn silence_is_not_a_missing_permission() {
        let leaderless = vec![("stream WEFT_LOG".to_owned(), "timed out".to_owned())];
        let servers = Some(RollCall { answered: 1, of: 3 });
        let found = leaders(&leaderless, servers);
        assert_eq!((found.len(), found[0].grade, found[0].check), (1, Grade::Failed, "servers"));
        assert!(found[0].found.starts_with("1 of 3 servers answer; no leader for stream WEFT_LOG"));
        let diagnosis = Diagnosis { leaderless, ..Diagnosis::default() };
        let found = existence(&diagnosis);
        assert!(found.iter().all(|finding| finding.grade == Grade::Unknown), "{found:?}");
        assert_eq!(found.len(), 2);
        assert!(leaders(&[], Some(RollCall { answered: 3, of: 3 })).is_empty());
        let one_down = leaders(&[], Some(RollCall { answered: 2, of: 3 }));
        assert_eq!(one_down[0].grade, Grade::Warning);
    }

    #[test]
    fn copies_are_told_by_server() {
        let copy = |server: &str, stream: &str, offline, behind| Lagging {
            stream: stream.to_owned(),
            server: server.to_owned(),
            offline,
            behind,
        };
        let found = copies(&[
            copy("n1", "stream A", true, 7),
            copy("n1", "stream B", true, 9),
            copy("n2", "stream A", false, 5),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].found, "n1 is offline: stream A, stream B");
        assert_eq!(found[1].found, "n2 is up to 5 operations behind: stream A");
        assert!(found.iter().all(|finding| finding.grade == Grade::Warning));
    }

    #[test]
    fn whatever_is_not_well_says_what_to_do() {
        let diagnosis = Diagnosis {
            missing: vec!["stream S".to_owned()],
            unreadable: vec![("stream T".to_owned(), "denied".to_owned())],
            ..Diagnosis::default()
        };
        let findings = existence(&diagnosis);
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|f| f.grade == Grade::Failed && f.todo.is_some()));
    }
}
