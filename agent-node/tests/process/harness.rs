//! A process agent, its programs written in Python on the spot, and attempts at tasks over a log in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_node::agent::{AnyAgent as _, Stop};
use agent_node::agents::process::{ProcessAgent, ProcessSettings, Provided};
use agent_node::context::Context;
use agent_node::ledger::{Ledger as _, MemoryLedger};
use agent_node::scribe::{Scribe, Start};
use bytes::Bytes;
use protocol::entry::{Entry, Event, Origin};
use protocol::header::Headers;
use protocol::input::Input;
use protocol::log::TaskLog;
use protocol::message::{part_of, value_of};
use protocol::subject::Subjects;
use protocol::submission::{Queue, Source};
use protocol::{NodeName, Owner, Skill, TaskId, Timestamp};
use runtime::bus::Outgoing;
use runtime::clock::Clock;
use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use rustix::process::{Pid, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) const LONG: Duration = Duration::from_secs(30);

/// What every program begins with: it notes its process id in the file `pids` of its directory.
const PREAMBLE: &str = r#"
import json, os, signal, subprocess, sys, time
def note(name, text=""):
    with open(name, "a") as file: file.write(str(text) + "\n")
note("pids", os.getpid())
def read():
    line = sys.stdin.readline()
    return json.loads(line) if line else sys.exit(0)
def write(text):
    sys.stdout.write(text); sys.stdout.flush()
def say(type, **line): write(json.dumps(dict(line, type=type)) + "\n")
"#;

/// An agent in a directory of its own.
pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) supervisor: Supervisor,
    pub(crate) agent: ProcessAgent,
}

pub(crate) fn settings(code: &str) -> ProcessSettings {
    let mut settings = ProcessSettings::new(["python3", "-c", &format!("{PREAMBLE}{code}")]);
    settings.stop_grace = Duration::from_millis(500);
    settings
}

pub(crate) fn fixture(settings: &ProcessSettings, concurrency: usize) -> Fixture {
    let directory = TempDir::new().unwrap();
    let supervisor = Supervisor::new(Metrics::new("test"));
    let agent = agent(settings, directory.path(), &supervisor, concurrency);
    Fixture { agent, directory, supervisor }
}

pub(crate) fn agent(
    settings: &ProcessSettings,
    base: &Path,
    supervisor: &Supervisor,
    concurrency: usize,
) -> ProcessAgent {
    let provided = Provided {
        base: base.to_owned(),
        environment: std::env::vars_os().chain([("SECRET".into(), "hidden".into())]).collect(),
        concurrency,
        supervisor: supervisor.clone(),
    };
    ProcessAgent::new("test", settings, provided).unwrap()
}

/// One attempt at a task.
pub(crate) struct Attempt {
    pub(crate) context: Context,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) cancel: CancellationToken,
}

pub(crate) fn attempt(sequence: u64) -> Attempt {
    attempt_over(sequence, Arc::default(), TaskLog::default())
}

fn attempt_over(sequence: u64, ledger: Arc<MemoryLedger>, log: TaskLog) -> Attempt {
    let source = Source { queue: Queue::Inbox, sequence };
    let origin = Origin {
        owner: Owner::parse("acme").unwrap(),
        ..Origin::bare(Skill::parse("count").unwrap(), source, Timestamp::from_millis(0))
    };
    let start = Start {
        task: TaskId::from_sequence(sequence),
        origin: Box::new(origin.clone()),
        log,
        node: NodeName::parse("n1").unwrap(),
    };
    let scribe = Scribe::new(
        Arc::clone(&ledger) as _,
        Arc::new(Subjects::default()),
        Clock::system(),
        start,
    );
    let cancel = CancellationToken::new();
    let deadline = Some(Timestamp::from_millis(60_000));
    let context = Context::new(Arc::new(scribe), Arc::new(origin), deadline, cancel.clone());
    Attempt { context, ledger, cancel }
}

impl Attempt {
    /// The next attempt at the same task, over the log that this one has left.
    pub(crate) fn again(&self) -> Self {
        let subject = Subjects::default().log(self.context.owner(), self.context.task());
        let entries = self.ledger.messages().into_iter().filter(|one| one.subject == subject);
        let entries =
            entries.map(|one| (one.sequence, serde_json::from_slice(&one.payload).unwrap()));
        let log = TaskLog::fold(entries).unwrap();
        let sequence = self.context.task().as_str().trim_start_matches('s').parse().unwrap();
        attempt_over(sequence, Arc::clone(&self.ledger), log)
    }

    /// Something is said to the task.
    pub(crate) async fn say(&self, input: &Input) {
        let subject = Subjects::default().input(self.context.owner(), self.context.task());
        let (headers, body) = input.write();
        self.ledger.append(vec![Outgoing::new(subject, headers, body.into())]).await.unwrap();
    }
    /// Somebody else takes the task over.
    pub(crate) async fn append_as_rival(&self) {
        let subject = Subjects::default().log(self.context.owner(), self.context.task());
        let entry = Outgoing::new(subject, Headers::new(), Bytes::new());
        self.ledger.append(vec![entry]).await.unwrap();
    }

    /// What it has appended to its log.
    pub(crate) fn events(&self) -> Vec<Event> {
        let read = |payload: &[u8]| serde_json::from_slice::<Entry>(payload).unwrap().event;
        let subject = Subjects::default().log(self.context.owner(), self.context.task());
        let messages = self.ledger.messages();
        let log = messages.iter().filter(|message| message.subject == subject);
        log.map(|message| read(&message.payload)).collect()
    }
}

impl Fixture {
    /// Runs an attempt to its end.
    pub(crate) async fn finish(&self, attempt: &Attempt, input: Value) -> Result<Value, Stop> {
        let run = self.agent.run(&attempt.context, vec![part_of(input)]);
        timeout(LONG, run).await.expect("the attempt hangs").map(|parts| value_of(&parts))
    }

    /// Runs a task to its end.
    pub(crate) async fn run(&self, sequence: u64, input: Value) -> Result<Value, Stop> {
        self.finish(&attempt(sequence), input).await
    }

    /// What the programs have noted under a name, a line each.
    pub(crate) fn notes(&self, name: &str) -> Vec<String> {
        notes(self.directory.path(), name)
    }

    /// Waits until the latest program has ended by itself, which nobody has noticed yet.
    pub(crate) async fn wait_for_end(&self) {
        let state = |pid: &String| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
        };
        let ended = || self.notes("pids").last().is_some_and(|pid| state(pid) == Some('Z'));
        wait_until("the program has ended", ended).await;
    }

    /// Waits until no program of this agent is left.
    pub(crate) async fn wait_for_silence(&self) {
        let gone = || self.notes("pids").iter().all(|pid| !is_alive(pid));
        wait_until("the programs are gone", gone).await;
    }
}

pub(crate) fn notes(directory: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn is_alive(pid: &str) -> bool {
    let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a process id");
    test_kill_process(pid).is_ok()
}

pub(crate) async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let limit = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
