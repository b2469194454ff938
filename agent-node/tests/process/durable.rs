//! The Python module's durable calls: what an author writes, over a log that grows from attempt to attempt.

use agent_node::agent::Stop;
use protocol::fault::{Failure, Fault};
use protocol::input::Input;
use protocol::message::{Message, Part};
use serde_json::{Value, json};

use super::harness::{attempt, fixture};
use super::python::with_module;

fn fault(result: Result<Value, Stop>) -> Fault {
    match result {
        Err(Stop::Failed { failure: Failure::Permanent, fault }) => fault,
        other => panic!("did not fail for good: {other:?}"),
    }
}

const STORY: &str = r#"
def work(input, ctx):
    keys = []
    def effect(n):
        note("effects", ctx.idempotency_key)
        return n, {"n": n}
    one = ctx.step("one", effect, 1)
    two = ctx.call("two", {"n": 2}, lambda arguments: (effect(arguments["n"]), ctx.used(tokens=3))[0], reserve={"tokens": 5})
    if input == "crash": os._exit(1)
    try:
        name = ctx.ask("name", "Who are you?")
    except Exception:
        name = "nobody"
    return [one, two, name, ctx.budget()["spent"], ctx.idempotency_key]
serve(work)
"#;

#[tokio::test]
async fn a_story_goes_on_where_it_was() {
    let fixture = fixture(&with_module(STORY), 1);
    let first = attempt(1);
    fixture.finish(&first, json!("crash")).await.unwrap_err();
    let second = first.again();
    let stop = fixture.finish(&second, json!("go")).await.unwrap_err();
    assert!(matches!(stop, Stop::Suspended { .. }), "{stop:?}");
    second.say(&Input::Message(Message::from_user(vec![Part::text("Ann")]))).await;
    let done = fixture.finish(&second.again(), json!("go")).await.unwrap();
    assert_eq!(done, json!([[1, {"n": 1}], [2, {"n": 2}], "Ann", {"tokens": 3}, "s1"]));
    assert_eq!(fixture.notes("effects"), ["s1/one", "s1/two"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_step_is_said() {
    let code = r#"
def work(input, ctx):
    if input == "nested": ctx.step("a", lambda: ctx.step("b", int))
    if input == "sleeping": ctx.step("a", lambda: ctx.sleep("s", 1))
    if input == "set": ctx.step("a", lambda: {1})
    if input == "used": ctx.step("a", lambda: ctx.used(tokens=1))
    if input == "raise": ctx.step("a", lambda: {}["missing"])
    if input == "value": ctx.step("a", lambda: int("JSON"))
    if input == "two": ctx.delegate("d", [work_piece])
    if input == "recover":
        try: ctx.step("a", lambda: {}["missing"])
        except KeyError: return ctx.step("b", lambda: "well")
work_piece = {"skill": "x", "need": {}}
serve(work)"#;
    let fixture = fixture(&with_module(code), 1);
    for (input, code, message) in [
        ("nested", "overlapping_calls", "'b' is asked for within step 'a'"),
        ("sleeping", "overlapping_calls", "sleep is asked for within step 'a'"),
        ("set", "invalid_output", "step 'a': Object of type set is not JSON serializable"),
        ("used", "bad_call", "ctx.used belongs into the function of a ctx.call"),
        ("raise", "agent_error", "KeyError: 'missing'"),
        ("value", "agent_error", "ValueError: invalid literal"),
        ("two", "agent_protocol", "work[0] needs a skill or a need"),
    ] {
        let fault = fault(fixture.run(1, json!(input)).await);
        assert_eq!(fault.code, code, "{input}: {fault}");
        assert!(fault.message.contains(message), "{input}: {fault}");
    }
    assert_eq!(fixture.run(1, json!("recover")).await.unwrap(), json!("well"));
}

#[tokio::test]
async fn code_that_changed_is_told_with_both_names() {
    let code = "serve(lambda input, ctx: ctx.step(input, lambda: 1))";
    let fixture = fixture(&with_module(code), 1);
    let first = attempt(1);
    fixture.finish(&first, json!("charge")).await.unwrap();
    let fault = fault(fixture.finish(&first.again(), json!("refund")).await);
    assert_eq!(fault.code, "nondeterministic");
    for name in ["\"charge\"", "\"refund\""] {
        assert!(fault.message.contains(name), "{fault}");
    }
}

#[tokio::test]
async fn whoever_swallows_the_suspension_is_suspended_all_the_same() {
    let code = r#"
def work(input, ctx):
    try: ctx.signal("bell")
    except BaseException: pass
    try: ctx.step("a", note, "effects", "ran")
    finally: return "swallowed"
serve(work)"#;
    let fixture = fixture(&with_module(code), 1);
    for sequence in 1..3 {
        let stop = fixture.run(sequence, json!(1)).await.unwrap_err();
        assert!(matches!(stop, Stop::Suspended { .. }), "{stop:?}");
    }
    assert!(fixture.notes("effects").is_empty());
    assert_eq!(fixture.notes("pids").len(), 1);
}
