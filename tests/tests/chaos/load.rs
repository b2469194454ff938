//! The tasks of the chaos suite, and what must become of each by its own input.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::{Client, Receipt, Submission};
use futures_util::StreamExt as _;
use protocol::entry::{Entry, Event};
use protocol::id::DedupKey;
use protocol::log::{AttemptOutcome, TaskLog};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use weft_tests::oracle::Oracle;
use weft_tests::work::submission;

/// Submissions under way at once.
const AT_ONCE: usize = 32;
/// How often a submission without an answer is repeated. One without a dedup key may then be two tasks.
const TRIES: usize = 5;

/// What is submitted, in order: `count` tasks, some of them three times under one key. Its `class` comes back as the output's echo.
pub(crate) fn plan(random: &mut StdRng, count: usize) -> Vec<Submission> {
    let mut plan = Vec::with_capacity(count * 5 / 4);
    for number in 0..count {
        let of_class = |skill: &str, class: &str, more: Value| {
            let mut input = json!({"echo": {"class": class, "number": number}});
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            submission(skill, input.to_string())
        };
        let sleep_ms = random.random_range(20..200);
        let next = match random.random_range(0..100) {
            0..50 => of_class("echo", "short", json!({})),
            50..70 => of_class("probe", "sleeping", json!({"sleepMs": sleep_ms})),
            70..78 => {
                let until = random.random_range(1..3);
                of_class("probe", "failing", json!({"failUntilAttempt": until, "sleepMs": 5}))
            }
            78..82 => {
                let bad = json!({"failUntilAttempt": 1_000_000, "failAs": "permanent"});
                of_class("probe", "permanent", bad)
            }
            82..87 => of_class("probe", "stepping", json!({"steps": 3, "sleepMs": sleep_ms / 5})),
            87..92 => {
                let inputs = (0..3).map(|child| format!("{number}.{child}")).collect::<Vec<_>>();
                let delegate = json!({"delegate": {"skill": "echo", "inputs": inputs}});
                of_class("probe", "delegating", delegate)
            }
            _ => {
                let mut keyed = of_class("probe", "keyed", json!({"sleepMs": sleep_ms / 4}));
                keyed.dedup_key = DedupKey::parse(&format!("key {number}")).ok();
                plan.extend([keyed.clone(), keyed.clone()]);
                keyed
            }
        };
        plan.push(next);
    }
    // Duplicates at some distance from each other.
    plan.chunks_mut(200).for_each(|some| some.shuffle(random));
    plan
}

/// Submits the plan; the receipts of all that got one.
pub(crate) async fn submit_all(
    client: &Client,
    plan: &[Submission],
    submitted: &AtomicUsize,
) -> Vec<Receipt> {
    let results = futures_util::stream::iter(plan).map(|one| async move {
        // The load lasts long enough for the chaos to meet all of it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut receipt = None;
        for _ in 0..TRIES {
            receipt = client.submit(one.clone()).await.ok();
            if receipt.is_some() {
                break;
            }
        }
        submitted.fetch_add(1, Ordering::Relaxed);
        receipt
    });
    results.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

fn class(story: &Oracle, task: &protocol::TaskId) -> Option<Value> {
    let body = story.submitted.get(task)?;
    serde_json::from_slice::<Value>(body).ok().map(|body| body["echo"].clone())
}

/// What is wrong beyond the oracle's own rules: receipts without a task, wrong ends, wrong results.
pub(crate) fn faults(story: &Oracle, receipts: &[Receipt]) -> Vec<String> {
    let mut faults = Vec::new();
    for receipt in receipts {
        if !story.submitted.contains_key(&receipt.task) {
            faults.push(format!("{} has a receipt and is not in the inbox", receipt.task));
        }
    }
    for task in story.submitted.keys() {
        let asked = class(story, task).unwrap_or_default();
        let end = story.end(task).map(|entry| &entry.event);
        let good = match (asked["class"].as_str(), end) {
            (Some("permanent"), Some(Event::Failed { .. })) => true,
            (Some("permanent"), _) => false,
            // The agent `echo` gives back its whole input.
            (_, Some(Event::Completed { output })) => {
                let output = protocol::message::value_of(output);
                let children = output["children"].as_array().map_or(0, Vec::len);
                output["echo"] == asked && (children == 3) == (asked["class"] == "delegating")
            }
            _ => false,
        };
        if !good {
            faults.push(format!("{task} {asked} has ended in {end:?}"));
        }
    }
    let conflicts =
        story.letters.iter().filter(|letter| letter.cause != protocol::dead::Cause::Failed);
    faults.extend(conflicts.map(|letter| format!("a letter that nothing explains: {letter:?}")));
    faults
}

/// How many attempts vanished without a word and were taken over by another one.
pub(crate) fn takeovers(story: &Oracle) -> usize {
    let lost = |log: &Vec<Entry>| {
        let folded = TaskLog::fold((1..).zip(log.iter().cloned())).unwrap();
        folded.attempts.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Lost).count()
    };
    story.logs.values().map(lost).sum()
}

/// One line about what there was.
pub(crate) fn sums(story: &Oracle) -> String {
    let mut classes = BTreeMap::<String, usize>::new();
    for task in story.submitted.keys() {
        let class = class(story, task).map_or_else(String::new, |class| class["class"].to_string());
        *classes.entry(class).or_default() += 1;
    }
    let entries = story.logs.values().map(Vec::len).sum::<usize>();
    let attempts = |log: &Vec<Entry>| log.iter().map(|entry| entry.attempt).max().unwrap_or(0);
    let more = story.logs.values().filter(|log| attempts(log) > 1).count();
    format!(
        "{} tasks submitted {classes:?}, {} delegated, {entries} entries, {more} tasks with more than one attempt, {} dead letters",
        story.submitted.len(),
        story.delegated.len(),
        story.letters.len()
    )
}
