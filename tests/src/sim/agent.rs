//! Runs a plan as an agent would, within the limits of `agent_node`'s attempts: claimed after a moment, ended by
//! force when it outlives its grace, its deadline, its time or its node.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use agent_node::agent::Stop;
use agent_node::context::delegate::{Join, Work};
use agent_node::context::{Allowed, ApprovalOptions, Call, Context, Decided};
use agent_node::engine;
use agent_node::scribe::Scribe;
use protocol::approval::{Level, action_hash};
use protocol::budget::{Grant, Usage};
use protocol::fault::{Failure, Fault, code};
use protocol::limits::{CANCEL_GRACE_DEFAULT, CLAIM_AFTER};
use protocol::message::{Part, part_of, value_of};
use protocol::task::Artifact;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::node::{Delivered, Node, claims_first};
use super::people;
use super::plan::{Act, End, Plan};
use super::world::Effect;

impl Node {
    /// One attempt.
    pub(super) async fn attempt(
        &self,
        work: &Delivered,
        scribe: &Arc<Scribe>,
        input: &[Part],
    ) -> Result<Vec<Part>, Stop> {
        let task = (work.origin.owner.clone(), work.envelope.task.clone());
        let heard = || self.hold.with(|world| world.hears_cancel(self.process, &task));
        if heard() {
            return Err(Stop::Canceled);
        }
        let token = CancellationToken::new();
        let (origin, deadline) = (Arc::clone(&work.origin), work.origin.deadline);
        let context = Context::new(Arc::clone(scribe), origin, deadline, token.clone());
        let mut claimed = claims_first(work);
        if claimed {
            scribe.claim("client").await?;
        }
        let plan = self.plan(input);
        let mut run = pin!(self.run_plan(&context, &plan, work.log.last_sequence));
        let mut claim = pin!(async {
            self.hold.sleep(CLAIM_AFTER).await;
            scribe.claim("client").await
        });
        let now = self.hold.with(|world| world.now);
        let timeout = now + self.load.timeout;
        let by_deadline = deadline.map(protocol::Timestamp::millis).filter(|at| *at < timeout);
        let mut ends_at = by_deadline.unwrap_or(timeout);
        self.hold.with(|world| world.wake(world.current, ends_at));
        let mut canceled = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(ended) = run.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if !claimed && let Poll::Ready(written) = claim.as_mut().poll(cx) {
                claimed = true;
                if let Err(stop) = written {
                    return Poll::Ready(Err(stop));
                }
            }
            let now = self.hold.with(|world| world.now);
            if !canceled && heard() {
                canceled = true;
                token.cancel();
                let grace = i64::try_from(CANCEL_GRACE_DEFAULT.as_millis()).unwrap_or(0);
                ends_at = ends_at.min(now + grace);
                self.hold.with(|world| world.wake(world.current, ends_at));
            }
            if self.hold.with(|world| world.is_draining(self.process)) {
                return Poll::Ready(Err(Stop::Released));
            }
            if now < ends_at {
                return Poll::Pending;
            }
            Poll::Ready(Err(match (canceled, by_deadline) {
                (true, _) => Stop::Canceled,
                (false, Some(_)) => permanent(engine::too_late()),
                (false, None) => Stop::Failed {
                    failure: Failure::Lost,
                    fault: Fault::new(code::ATTEMPT_TIMEOUT, "the attempt took too long"),
                },
            }))
        })
        .await
    }

    fn plan(&self, input: &[Part]) -> Plan {
        let text = value_of(input).as_str().map(str::to_owned).unwrap_or_default();
        let number =
            text.split(' ').next().and_then(|word| word.strip_prefix('p')?.parse::<usize>().ok());
        let missing = || Plan { acts: Vec::new(), end: End::BadInput, cooperative: false };
        number.and_then(|at| self.load.plans.get(at)).cloned().unwrap_or_else(missing)
    }

    async fn run_plan(&self, context: &Context, plan: &Plan, knew: u64) -> Result<Vec<Part>, Stop> {
        let doing = Doing { node: self, context, knew };
        let mut results = Vec::new();
        for (place, act) in plan.acts.iter().enumerate() {
            if plan.cooperative && context.is_canceled() {
                return Err(Stop::Canceled);
            }
            match act {
                Act::Work(ms) => {
                    self.hold.sleep(Duration::from_millis(u64::try_from(*ms).unwrap_or(0))).await;
                }
                Act::Step => results.push(doing.step(place).await?),
                Act::Call { reserve, used } => {
                    let call = Call::new(format!("call {place}")).reserving(tokens(*reserve));
                    results.push(doing.call(place, call, *used).await?);
                }
                Act::Sleep(ms) => context.sleep(&format!("sleep {place}"), limit(*ms)).await?,
                Act::Ask(ms) => {
                    let ms = ms.map(limit);
                    context.ask(&format!("ask {place}"), "which?", ms).await?;
                }
                Act::Signal(ms) => {
                    context.signal(&format!("bell {place}"), ms.map(limit)).await?;
                }
                Act::Approve { quorum, expires, late_level } => {
                    let options = ApprovalOptions {
                        question: String::new(),
                        chain: late_level.as_ref().map(chain).unwrap_or_default(),
                        quorum: *quorum,
                        expires: expires.map(limit),
                    };
                    let asked = format!("approve {place}");
                    if let Decided::Approved(approved) =
                        context.decide(&asked, people::action(place), options).await?
                    {
                        let call = Call::new(format!("act {place}")).allowed_by(approved);
                        results.push(doing.call(place, call, 0).await?);
                    }
                }
                Act::Status => context.status("under way").await?,
                Act::Artifact => {
                    let artifact = Artifact {
                        artifact_id: format!("a{place}"),
                        name: None,
                        description: None,
                        parts: vec![Part::text("made")],
                        metadata: None,
                    };
                    context.artifact(artifact, false, true).await?;
                }
                Act::Delegate { plans, enough, slice } => {
                    self.delegate(context, place, plans, *enough, *slice).await?;
                }
                Act::Fail { until, retry_after, always } if context.attempt() <= *until => {
                    let asks = retry_after.filter(|_| *always || context.attempt() == 1);
                    return Err(Stop::Failed {
                        failure: Failure::Transient {
                            retry_after: asks.map(Duration::from_millis),
                        },
                        fault: Fault::new(code::AGENT_ERROR, "may pass"),
                    });
                }
                Act::Fail { .. } => {}
            }
        }
        end(plan.end, results)
    }

    async fn delegate(
        &self,
        context: &Context,
        place: usize,
        plans: &[usize],
        enough: Option<u32>,
        slice: Option<u64>,
    ) -> Result<(), Stop> {
        let skill = &self.load.skill;
        // Without a budget of its own a task has nothing to share out.
        let granted = context.budget().await.granted.tokens.is_some();
        let slice = slice.filter(|_| granted);
        let work = plans.iter().map(|plan| {
            let work = Work::new(skill.clone(), Value::from(format!("p{plan}")));
            match slice {
                None => work,
                Some(slice) => work.spending(Grant { tokens: Some(slice), ..Grant::default() }),
            }
        });
        let join = enough.map_or(Join::All, Join::Quorum);
        let ends =
            context.delegate_with(&format!("delegation {place}"), work.collect(), join).await?;
        let task = (context.owner().clone(), context.task().clone());
        self.hold.with(|world| {
            let known = world.seen.ends.entry(task).or_default();
            let awaited = ends.into_iter().filter(|end| {
                end.result.as_ref().err().is_none_or(|fault| fault.code != code::NOT_AWAITED)
            });
            known.extend(awaited.map(|end| (end.task, end.result.is_ok())));
        });
        Ok(())
    }
}

/// Carries out what has effects.
struct Doing<'a> {
    node: &'a Node,
    context: &'a Context,
    /// The last entry that the attempt knew when it began.
    knew: u64,
}

impl Doing<'_> {
    async fn step(&self, place: usize) -> Result<u64, Stop> {
        let name = format!("step {place}");
        let effect = async { Ok(self.effect(&name, 0, None).await) };
        self.context.step(&name, effect).await
    }

    async fn call(&self, place: usize, call: Call, used: u64) -> Result<u64, Stop> {
        let effect = |allowed: Allowed| async move {
            let acts = !allowed.arguments.is_null();
            let name = format!("{} {place}", if acts { "act" } else { "call" });
            let action = acts.then(|| action_hash(&allowed.arguments));
            Ok((self.effect(&name, used, action).await, tokens(used)))
        };
        self.context.call(call, effect).await
    }

    /// Gives another number each time.
    async fn effect(&self, name: &str, tokens: u64, action: Option<String>) -> u64 {
        self.node.hold.turn().await;
        let task = (self.context.owner().clone(), self.context.task().clone());
        let gave = self.node.hold.with(|world| {
            let gave = world.seen.effects.len() as u64 + 1;
            world.note(|| format!("effect {name} of {} gives {gave}", task.1));
            let (actor, at) = (world.current, world.bus.last_sequence());
            let name = name.to_owned();
            let knew = self.knew;
            world.seen.effects.push(Effect { task, name, actor, knew, at, tokens, gave, action });
            gave
        });
        self.node.hold.turn().await;
        gave
    }
}

fn tokens(tokens: u64) -> Usage {
    Usage { tokens, ..Usage::default() }
}

fn limit(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Ann may decide at once, Bob later.
fn chain(after_ms: &u64) -> Vec<Level> {
    let level = |name: &str, after_ms| Level { approvers: vec![name.to_owned()], after_ms };
    vec![level("ann", 0), level("bob", *after_ms)]
}

fn permanent(fault: Fault) -> Stop {
    Stop::Failed { failure: Failure::Permanent, fault }
}

fn end(end: End, results: Vec<u64>) -> Result<Vec<Part>, Stop> {
    match end {
        End::Complete => Ok(vec![part_of(Value::from(results))]),
        End::Permanent => Err(Stop::permanent("will not pass")),
        End::BadInput => Err(permanent(Fault::new(code::INVALID_INPUT, "not acceptable"))),
    }
}
