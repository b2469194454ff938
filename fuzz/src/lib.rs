//! Finds a fuzz target by its name. The targets themselves are the protocol's tests, included here, so that
//! a long search and the test suite hold the same rules.

#[path = "../../protocol/tests/fuzz_targets/mod.rs"]
mod fuzz_targets;
#[path = "../../protocol/tests/judge/mod.rs"]
mod judge;

/// Runs the target with this name on these bytes.
///
/// # Panics
/// When there is no such target, or the bytes break one of its rules.
pub fn run(name: &str, data: &[u8]) {
    let target = fuzz_targets::ALL.iter().find(|target| target.name == name);
    let _: fuzz_targets::Verdict = (target.expect("the target is in the list").run)(data);
}
