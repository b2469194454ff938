//! Runs a plan as an agent would, within the limits of `agent_node`'s attempts: claimed after a moment, ended by
//! force when it outlives its grace, its deadline, its time or its node.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use agent_node::agent::Stop;
use agent_node::context::Context;
use agent_node::delegate::Delegation;
use agent_node::engine;
use agent_node::scribe::Scribe;
use protocol::fault::{Failure, Fault, code};
use protocol::limits::{CANCEL_GRACE_DEFAULT, CLAIM_AFTER};
use protocol::message::{Part, part_of, value_of};
use protocol::task::Artifact;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::node::{Node, Work, claims_first};
use super::plan::{Act, End, Plan};

impl Node {
    /// One attempt.
    pub(super) async fn attempt(
        &self,
        work: &Work,
        scribe: &Arc<Scribe>,
        input: &[Part],
    ) -> Result<Vec<Part>, Stop> {
        let task = &work.envelope.task;
        let heard = || self.hold.with(|world| world.hears_cancel(self.process, task));
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
        let mut run = pin!(self.run_plan(&context, &plan));
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

    async fn run_plan(&self, context: &Context, plan: &Plan) -> Result<Vec<Part>, Stop> {
        let mut results = Vec::new();
        for (place, act) in plan.acts.iter().enumerate() {
            if plan.cooperative && context.is_canceled() {
                return Err(Stop::Canceled);
            }
            match act {
                Act::Work(ms) => {
                    self.hold.sleep(Duration::from_millis(u64::try_from(*ms).unwrap_or(0))).await;
                }
                Act::Step => results.push(self.step(context, place).await?),
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
                Act::Delegate(plans) => self.delegate(context, place, plans).await?,
                Act::Fail { until, retry_after } if context.attempt() <= *until => {
                    return Err(Stop::Failed {
                        failure: Failure::Transient {
                            retry_after: retry_after.map(Duration::from_millis),
                        },
                        fault: Fault::new(code::AGENT_ERROR, "may pass"),
                    });
                }
                Act::Fail { .. } => {}
            }
        }
        match plan.end {
            End::Complete => Ok(vec![part_of(Value::from(results))]),
            End::Permanent => Err(Stop::permanent("will not pass")),
            End::BadInput => Err(permanent(Fault::new(code::INVALID_INPUT, "not acceptable"))),
        }
    }

    /// A step whose effect gives another number each time it is carried out.
    async fn step(&self, context: &Context, place: usize) -> Result<u64, Stop> {
        let effect = async {
            self.hold.turn().await;
            Ok(self.hold.with(|world| {
                world.seen.effects += 1;
                world.seen.effects
            }))
        };
        context.step(&format!("step {place}"), effect).await
    }

    async fn delegate(&self, context: &Context, place: usize, plans: &[usize]) -> Result<(), Stop> {
        let skill = &self.load.skill;
        let work = plans.iter().map(|plan| Delegation {
            skill: skill.clone(),
            input: Value::from(format!("p{plan}")),
        });
        let ends = context.delegate(&format!("delegation {place}"), work.collect()).await?;
        let task = context.task().clone();
        self.hold.with(|world| {
            let known = world.seen.ends.entry(task).or_default();
            known.extend(ends.into_iter().map(|end| (end.task, end.result.is_ok())));
        });
        Ok(())
    }
}

fn permanent(fault: Fault) -> Stop {
    Stop::Failed { failure: Failure::Permanent, fault }
}
