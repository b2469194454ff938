//! Runs a plan as an agent would, within the limits of `agent_node`'s attempts: claimed after a moment, ended by
//! force when it outlives its grace, its deadline, its time or its node.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use agent_node::agent::Stop;
use agent_node::context::{Allowed, ApprovalOptions, Around, Call, Context, Decided, Interrupted};
use agent_node::engine;
use agent_node::scribe::Scribe;
use protocol::approval::{Level, action_hash};
use protocol::budget::Usage;
use protocol::card::OnMessage;
use protocol::fault::{Failure, Fault, code};
use protocol::limits::{CANCEL_GRACE_DEFAULT, CLAIM_AFTER};
use protocol::message::{Part, part_of, value_of};
use protocol::task::Artifact;
use runtime::config::{ApprovalSection, GuardSection};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::mesh::SimMesh;
use super::node::{Delivered, Node, claims_first};
use super::people;
use super::plan::{Act, End, Plan};
use super::sabotage::Sabotage;
use super::world::{Effect, Key};

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
        let context = Context::new(Arc::clone(scribe), origin, deadline, token.clone())
            .within(self.around(&task));
        let plan = self.plan(input);
        let ran = self.go_on(work, (&context, scribe), &plan, &token).await;
        let forgets = self.hold.with(|world| world.sabotage) == Some(Sabotage::TakeBack);
        let looks = matches!(ran, Ok(_) | Err(Stop::Failed { .. })) && !forgets;
        if looks && context.take_back().await == Err(Stop::Fenced) {
            return Err(Stop::Fenced);
        }
        ran
    }

    /// The attempt until its agent, or whoever ends it, has ended it. What it leaves under way is dropped.
    async fn go_on(
        &self,
        work: &Delivered,
        (context, scribe): (&Context, &Arc<Scribe>),
        plan: &Plan,
        token: &CancellationToken,
    ) -> Result<Vec<Part>, Stop> {
        let task = (context.owner().clone(), context.task().clone());
        let heard = || self.hold.with(|world| world.hears_cancel(self.process, &task));
        let deadline = work.origin.deadline;
        let mut claimed = claims_first(work);
        if claimed {
            scribe.claim("client").await?;
        }
        let mut run = pin!(self.run_plan(context, plan, work.log.last_sequence));
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

    /// What is around an attempt: the mesh, the skill's settings, an ear where it is to have one.
    fn around(&self, task: &Key) -> Around {
        let sabotage = self.hold.with(|world| world.sabotage);
        let interrupts = self.load.on_message == OnMessage::Interrupt;
        let listens = interrupts || sabotage == Some(Sabotage::Interrupt);
        let ear = self.hold.with(|world| {
            let inputs = &world.processes.get(self.process).filter(|_| listens)?.inputs;
            Some(inputs.listen(&task.0, &task.1))
        });
        let section = |place: u32| ApprovalSection {
            call: format!("guarded {place}"),
            chain: Vec::new(),
            quorum: 1 + place % 2,
            expires: Some(Duration::from_secs(5)),
        };
        let guards = (0..4_u32).filter(|_| sabotage != Some(Sabotage::Guard));
        let guard = GuardSection {
            equal_calls_max: match sabotage {
                Some(Sabotage::Loop) => u32::MAX,
                Some(_) | None => EQUAL_CALLS_MAX,
            },
            on_budget: self.load.on_budget,
            approvals: guards.map(section).collect(),
            ..GuardSection::default()
        };
        Around {
            mesh: Arc::new(SimMesh(self.hold.clone())),
            guard: Arc::new(guard),
            on_message: match sabotage {
                Some(Sabotage::Grab) => OnMessage::Enqueue,
                Some(_) | None => self.load.on_message,
            },
            ear,
        }
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
                Act::Listen(ms) => {
                    if let Interrupted::Done(gave) = doing.listen(place, *ms).await? {
                        results.push(gave);
                    }
                }
                Act::Guarded => {
                    let action = people::action(place);
                    let call = Call::new(format!("guarded {place}")).with(action);
                    results.push(doing.call(place, call, 0).await?);
                }
                Act::Repeat(times) => doing.repeat(*times, &mut results).await?,
                Act::Sleep(ms) => context.sleep(&format!("sleep {place}"), limit(*ms)).await?,
                Act::Ask(ms) => {
                    let ms = ms.map(limit);
                    context.ask(&format!("ask {place}"), "which?", ms).await?;
                }
                Act::Signal(ms) => {
                    context.signal(&format!("bell {place}"), ms.map(limit)).await?;
                }
                Act::Approve { quorum, expires, late_level } => {
                    results.extend(
                        doing.approved(place, *quorum, *expires, late_level.as_ref()).await?,
                    );
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
                Act::Delegate { pieces, enough, slice } => {
                    self.delegate(context, place, pieces, (*enough, *slice)).await?;
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

    async fn listen(&self, place: usize, ms: i64) -> Result<Interrupted<u64>, Stop> {
        let name = format!("listen {place}");
        let effect = async {
            self.node.hold.sleep(limit(ms)).await;
            Ok(self.effect(&name, 0, None).await)
        };
        self.context.step_or_message(&name, effect).await
    }

    /// Asks people, and does what they allow.
    async fn approved(
        &self,
        place: usize,
        quorum: u32,
        expires: Option<i64>,
        late_level: Option<&u64>,
    ) -> Result<Option<u64>, Stop> {
        let options = ApprovalOptions {
            question: String::new(),
            chain: late_level.map(chain).unwrap_or_default(),
            quorum,
            expires: expires.map(limit),
        };
        let asked = format!("approve {place}");
        match self.context.decide(&asked, people::action(place), options).await? {
            Decided::Approved(approved) => {
                let call = Call::new(format!("act {place}")).allowed_by(approved);
                self.call(place, call, 0).await.map(Some)
            }
            Decided::Denied { .. } | Decided::Expired => Ok(None),
        }
    }

    /// The same call, so many times.
    async fn repeat(&self, times: u32, results: &mut Vec<u64>) -> Result<(), Stop> {
        for _ in 0..times {
            let effect = |_| async { Ok((self.effect("again", 0, None).await, tokens(0))) };
            results.push(self.context.call(Call::new("again"), effect).await?);
        }
        Ok(())
    }

    async fn call(&self, place: usize, call: Call, used: u64) -> Result<u64, Stop> {
        let call_name = call.action().get("call").and_then(Value::as_str).map(str::to_owned);
        let call_name = call_name.unwrap_or_default();
        let effect = |allowed: Allowed| async move {
            let acts = !allowed.arguments.is_null();
            let name = format!("{} {place}", if acts { "act" } else { "call" });
            let done = match call_name.starts_with("guarded") {
                true => json!({"call": call_name, "arguments": allowed.arguments}),
                false => allowed.arguments,
            };
            let action = acts.then(|| action_hash(&done));
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

/// Equal calls in a row that the skill allows.
pub(super) const EQUAL_CALLS_MAX: u32 = 3;

pub(super) fn tokens(tokens: u64) -> Usage {
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
        End::Luck if results.last().is_some_and(|last| last % 2 == 0) => {
            Ok(vec![part_of(Value::from(results))])
        }
        End::Luck => Err(Stop::permanent("out of luck")),
        End::Permanent => Err(Stop::permanent("will not pass")),
        End::BadInput => Err(permanent(Fault::new(code::INVALID_INPUT, "not acceptable"))),
    }
}
