//! One task with one program: says what is to be done, passes on what comes back, judges how it ended.
//!
//! A program that keeps to the protocol is kept for the next task. One that ended, wrote what is no line
//! of the protocol or wrote too much is killed at once. One whose attempt ends for another reason (the task is
//! fenced, the future is dropped) is stopped politely; it has done nothing wrong. One that was told to give its task up
//! says that it has, and is kept too.

use std::process::ExitStatus;
use std::sync::Arc;

use bytes::Bytes;
use protocol::fault::{Failure, Fault, code};
use protocol::limits::FAULT_CHARS_MAX;
use protocol::message::{Part, value_of};
use protocol::task::RESULT_ARTIFACT;
use tokio::time::{Instant, sleep_until, timeout};

use super::child::{Child, Gone};
use super::desk::{Desk, NoReply};
use super::line::{
    FromProgram, Hello, PROTOCOL_VERSION, PROTOCOL_VERSION_FIRST, REQUESTS_SINCE, ToProgram, quote,
};
use super::log;
use super::pool::{Lease, LeaseError, Pool};
use super::request::RequestLine;
use super::settings::Mode;
use crate::agent::Stop;
use crate::context::Context;

/// `EX_TEMPFAIL` of sysexits.h: the program asks to be tried again.
const EXIT_TRANSIENT: i32 = 75;
/// Characters of a status text that reach the log.
const STATUS_CHARS: usize = 4096;
/// Characters of an error about a program besides the end of its standard error.
const STORY_CHARS: usize = 300;

/// What the program answers: a result, the error that it reports, or that it has given the task up.
type Answer = Result<Vec<Part>, Stop>;

/// Why there is no answer.
enum NoAnswer {
    /// The attempt has to end, and not because of the program.
    Stop(Stop),
    /// There will be no more lines.
    Gone(Gone),
    /// It did not say hello in time.
    NoHello,
    /// It ended with this status, by which a program that runs once reports an error.
    Refused(ExitStatus),
    /// A line that must not be: what it is, and the line.
    Protocol(String, Bytes),
    /// It went on with a step that a message had cut short. The message is in the log.
    Deaf,
}

/// Runs a task. A program that does not hear of a message is ended, and another one begins again with it in the log.
pub(super) async fn run(
    pool: &Arc<Pool>,
    context: &Context,
    parts: &[Part],
) -> Result<Vec<Part>, Stop> {
    loop {
        if let Some(ended) = run_once(pool, context, parts).await {
            return ended;
        }
        tracing::info!(task_id = %context.task(), reason = "a message came", "program begins again");
        context.begin_again();
    }
}

/// Runs a task with one program; `None` when it has to begin again with another.
async fn run_once(
    pool: &Arc<Pool>,
    context: &Context,
    parts: &[Part],
) -> Option<Result<Vec<Part>, Stop>> {
    match talk(pool, context, parts).await {
        Ok(ended) => ended.map(Ok),
        Err(stop) => Some(Err(stop)),
    }
}

async fn talk(
    pool: &Arc<Pool>,
    context: &Context,
    parts: &[Part],
) -> Result<Option<Vec<Part>>, Stop> {
    let cancel_line = encode(&ToProgram::Cancel { task: context.task() })?;
    let mut lease = tokio::select! {
        biased;
        () = context.canceled() => return Err(Stop::Canceled),
        lease = pool.lease(cancel_line.clone()) => lease.map_err(|error| no_program(&error))?,
    };
    let Some(child) = lease.child() else { return Err(no_program(&LeaseError::Closed)) };
    let task_line = task_line(context, parts)?;
    let desk = Desk::new(context);
    let mut talk = Conversation {
        pool,
        context,
        child,
        cancel_line,
        is_canceled: false,
        desk,
        asked: None,
        answer: None,
    };
    let ended = match pool.launch.mode {
        Mode::Serve => talk.serve(&task_line).await,
        Mode::Once => talk.once(&task_line).await,
    };
    let (is_canceled, place) = (talk.is_canceled, talk.desk.place());
    drop(talk);
    if matches!(ended, Err(NoAnswer::Deaf)) {
        lease.end().await;
        return Ok(None);
    }
    let result = settle(pool.launch.mode, lease, ended, place).await;
    match result {
        Err(Stop::Failed { .. }) if is_canceled => Err(Stop::Canceled),
        result => result.map(Some),
    }
}

/// Gives the program back or ends it, and says what the node hears.
async fn settle(
    mode: Mode,
    mut lease: Lease,
    ended: Result<Answer, NoAnswer>,
    place: Option<String>,
) -> Result<Vec<Part>, Stop> {
    let tail = lease.child().map(|child| child.stderr.tail()).unwrap_or_default();
    match (ended, mode) {
        (Ok(answer), mode) => {
            match mode {
                Mode::Serve => lease.give_back(),
                Mode::Once => lease.done(),
            }
            answer
        }
        (Err(NoAnswer::Stop(stop)), _) => Err(stop),
        (Err(NoAnswer::Refused(status)), _) => {
            lease.done();
            Err(NoAnswer::Refused(status).judge(&tail, place))
        }
        (Err(no_answer), _) => {
            lease.kill().await;
            Err(no_answer.judge(&tail, place))
        }
    }
}

struct Conversation<'a> {
    pool: &'a Pool,
    context: &'a Context,
    child: &'a mut Child,
    cancel_line: Vec<u8>,
    is_canceled: bool,
    desk: Desk<'a>,
    /// A request that has not been replied to.
    asked: Option<(RequestLine, Bytes)>,
    answer: Option<Answer>,
}

impl Conversation<'_> {
    async fn serve(&mut self, task_line: &[u8]) -> Result<Answer, NoAnswer> {
        self.greet().await?;
        self.child.write_task(task_line);
        loop {
            let line = self.next_line().await?;
            self.hear(line).await?;
            if let Some((request, line)) = self.asked.take() {
                self.reply(request, line).await?;
            }
            if let Some(answer) = self.answer.take() {
                return Ok(self.desk.doomed().map_or(answer, |stop| Err(stop.clone())));
            }
        }
    }

    /// Carries a request out and replies to it.
    async fn reply(&mut self, request: RequestLine, line: Bytes) -> Result<(), NoAnswer> {
        let place = request.call.place();
        let reply = self.desk.answer(request).await.map_err(|error| match error {
            NoReply::Protocol(what) => NoAnswer::Protocol(what, line),
            NoReply::Stop(stop) => NoAnswer::Stop(stop),
        })?;
        // Whoever asks again before the reply does not wait for replies.
        while let Ok(Some(early)) = self.child.next_now() {
            let said = early.clone();
            self.hear(early).await?;
            if self.asked.is_some() || self.answer.is_some() {
                let what = format!("a line that had to wait for the reply to {place}");
                return Err(NoAnswer::Protocol(what, said));
            }
        }
        let line = encode(&ToProgram::Reply(&reply)).map_err(NoAnswer::Stop)?;
        self.child.write_task(&line);
        Ok(())
    }

    async fn once(&mut self, task_line: &[u8]) -> Result<Answer, NoAnswer> {
        self.child.write(task_line);
        self.child.close_stdin();
        let status = loop {
            match self.next_line().await {
                Ok(line) => self.hear(line).await?,
                Err(NoAnswer::Gone(Gone::Exited { status })) => break status,
                Err(no_answer) => return Err(no_answer),
            }
        };
        let rest = self.child.take_rest();
        if status.success() && !rest.trim_ascii().is_empty() {
            self.hear(rest).await?;
        }
        match self.answer.take() {
            Some(Err(reported)) => Ok(Err(reported)),
            Some(Ok(parts)) if status.success() => Ok(Ok(parts)),
            _ if status.success() || status.code().is_none() => {
                Err(NoAnswer::Gone(Gone::Exited { status }))
            }
            _ => Err(NoAnswer::Refused(status)),
        }
    }

    /// Waits for hello where the settings ask for it.
    async fn greet(&mut self) -> Result<(), NoAnswer> {
        let Some(limit) = self.pool.launch.start_timeout else { return Ok(()) };
        if self.child.has_spoken {
            return Ok(());
        }
        let line = tokio::select! {
            line = timeout(limit, self.child.next()) => line,
            () = self.context.canceled() => return Err(NoAnswer::Stop(Stop::Canceled)),
        };
        let line = line.map_err(|_elapsed| NoAnswer::NoHello)?.map_err(NoAnswer::Gone)?;
        match FromProgram::read(&line) {
            Ok(FromProgram::Hello(_)) | Err(_) => self.hear(line).await,
            Ok(other) => {
                Err(NoAnswer::Protocol(format!("a {} line before hello", other.name()), line))
            }
        }
    }

    /// The next line; tells the program on the way when somebody asks for the end of the task, or a message cuts the open
    /// step short.
    async fn next_line(&mut self) -> Result<Bytes, NoAnswer> {
        loop {
            let grace_ends = self.desk.grace_ends();
            let by = grace_ends.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                line = self.child.next() => return line.map_err(NoAnswer::Gone),
                () = self.context.canceled(), if !self.is_canceled => {
                    self.is_canceled = true;
                    self.child.write(&self.cancel_line);
                }
                () = self.context.hears(), if self.desk.listens() => self.interrupt().await?,
                () = sleep_until(by), if grace_ends.is_some() => {
                    self.desk.give_up().await.map_err(NoAnswer::Stop)?;
                    return Err(NoAnswer::Deaf);
                }
            }
        }
    }

    /// Tells the program to end its step, if what has been said to the task is a message.
    async fn interrupt(&mut self) -> Result<(), NoAnswer> {
        let grace = self.pool.launch.interrupt_grace;
        let has_come = self.desk.hear(Instant::now() + grace).await;
        if has_come.map_err(NoAnswer::Stop)? {
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            let line = ToProgram::Interrupt { task: self.context.task(), grace_ms };
            self.child.write(&encode(&line).map_err(NoAnswer::Stop)?);
        }
        Ok(())
    }

    async fn hear(&mut self, bytes: Bytes) -> Result<(), NoAnswer> {
        let line = match FromProgram::read(&bytes) {
            Ok(line) => line,
            Err(error) => return Err(NoAnswer::Protocol(error.to_string(), bytes)),
        };
        let is_first = !std::mem::replace(&mut self.child.has_spoken, true);
        if let Some(wrong) = self.wrong(&line, is_first) {
            return Err(NoAnswer::Protocol(wrong, bytes));
        }
        match line {
            FromProgram::Hello(hello) => {
                self.child.protocol = hello.protocol;
                self.pool.meet(hello);
            }
            FromProgram::Status { text, .. } => {
                let text: String = text.chars().take(STATUS_CHARS).collect();
                self.context.status(text).await.map_err(NoAnswer::Stop)?;
            }
            FromProgram::Artifact { artifact, append, last_chunk, .. } => {
                let stored = self.context.artifact(artifact, append, last_chunk);
                stored.await.map_err(NoAnswer::Stop)?;
            }
            FromProgram::Result(result) => {
                if result.reply {
                    self.context.reply_directly();
                }
                self.answer = Some(Ok(result.parts));
            }
            FromProgram::Error(error) => {
                let (failure, fault) = error.failure();
                self.answer = Some(Err(Stop::Failed { failure, fault }));
            }
            FromProgram::Request(request) => self.asked = Some((request, bytes)),
            FromProgram::Suspended { .. } => {
                self.answer = self.desk.suspended().map(|stop| Err(stop.clone()));
            }
            FromProgram::Log { level, message } => {
                log::write(&self.pool.launch.agent, level, &message, &mut self.child.log_rate);
            }
        }
        Ok(())
    }

    /// What makes a line wrong that is well formed.
    fn wrong(&self, line: &FromProgram, is_first: bool) -> Option<String> {
        let name = line.name();
        let ours = self.context.task().as_str();
        if let Some(task) = line.task().filter(|task| *task != ours) {
            return Some(format!("a {name} line about task {task:?} during task {ours:?}"));
        }
        match line {
            FromProgram::Log { .. } => None,
            _ if self.answer.is_some() => Some(format!("a {name} line after its answer")),
            FromProgram::Hello(_) if !is_first => Some("hello in the middle".to_owned()),
            FromProgram::Hello(Hello { protocol, .. })
                if !(PROTOCOL_VERSION_FIRST..=PROTOCOL_VERSION).contains(protocol) =>
            {
                Some(format!(
                    "hello in version {protocol}, and this node speaks {PROTOCOL_VERSION_FIRST} to {PROTOCOL_VERSION}"
                ))
            }
            FromProgram::Artifact { artifact, .. } if artifact.artifact_id == RESULT_ARTIFACT => {
                Some(format!("an artifact called {RESULT_ARTIFACT:?}, which the result is"))
            }
            FromProgram::Request(request) => self.wrong_request(request),
            FromProgram::Result(_) if self.desk.suspended().is_some() => {
                Some("a result line after it was told to give the task up".to_owned())
            }
            FromProgram::Result(_) => {
                self.desk.place().map(|place| format!("a result line while {place} is open"))
            }
            FromProgram::Suspended { .. } if self.desk.suspended().is_none() => {
                Some("a suspended line without being told to give the task up".to_owned())
            }
            FromProgram::Hello(_)
            | FromProgram::Status { .. }
            | FromProgram::Artifact { .. }
            | FromProgram::Suspended { .. }
            | FromProgram::Error(_) => None,
        }
    }

    /// What makes a request wrong whatever it asks for.
    fn wrong_request(&self, request: &RequestLine) -> Option<String> {
        let place = request.call.place();
        if self.pool.launch.mode == Mode::Once {
            return Some(format!(
                "the request {place} in mode \"once\", where nothing is replied; use mode \"serve\""
            ));
        }
        (self.child.protocol < REQUESTS_SINCE).then(|| {
            format!("the request {place} without a hello in version {REQUESTS_SINCE} or later")
        })
    }
}

impl NoAnswer {
    /// What the node hears. `tail` is the end of the program's standard error, `place` where in the task it was.
    fn judge(self, tail: &str, place: Option<String>) -> Stop {
        match self.cause(tail) {
            Stop::Failed { failure, fault } => {
                let fault = match place {
                    Some(place) => fault.at(place),
                    None => fault,
                };
                Stop::Failed { failure, fault }
            }
            stop @ (Stop::Suspended { .. } | Stop::Canceled | Stop::Released | Stop::Fenced) => {
                stop
            }
        }
    }

    fn cause(self, tail: &str) -> Stop {
        match self {
            Self::Stop(stop) => stop,
            Self::Gone(gone @ Gone::LineTooLong { .. }) => failed(
                Failure::Permanent,
                Fault::new(code::TOO_LARGE, format!("the program {gone}")).hint(
                    "raise line_bytes_max (what is large goes to the object store), \
                     or hand results over in several artifact lines",
                ),
            ),
            Self::Gone(gone) => {
                let story = format!("the program {gone} before it gave a result");
                crashed(&story, tail)
            }
            Self::Deaf => crashed("the program went on with a step that a message cut short", tail),
            Self::NoHello => crashed("the program did not say hello in time", tail),
            Self::Refused(status) => {
                let story = with_tail(&format!("the program ended ({status})"), tail);
                let failure = match status.code() {
                    Some(EXIT_TRANSIENT) => Failure::Transient { retry_after: None },
                    Some(_) | None => Failure::Permanent,
                };
                failed(failure, Fault::new(code::AGENT_ERROR, story))
            }
            Self::Protocol(what, line) => failed(
                Failure::Permanent,
                Fault::new(
                    code::AGENT_PROTOCOL,
                    format!("the program wrote {what}: {}", quote(&line)),
                )
                .hint("standard output is for the protocol only; print to standard error"),
            ),
        }
    }
}

fn failed(failure: Failure, fault: Fault) -> Stop {
    Stop::Failed { failure, fault }
}

fn crashed(story: &str, tail: &str) -> Stop {
    failed(
        Failure::Transient { retry_after: None },
        Fault::new(code::AGENT_CRASHED, with_tail(story, tail)),
    )
}

fn no_program(error: &LeaseError) -> Stop {
    crashed(&error.to_string(), "")
}

/// Adds the end of standard error, as much as a fault keeps.
fn with_tail(story: &str, tail: &str) -> String {
    if tail.is_empty() {
        return story.to_owned();
    }
    let room = FAULT_CHARS_MAX - STORY_CHARS;
    let skip = tail.chars().count().saturating_sub(room);
    let end: String = tail.chars().skip(skip).collect();
    format!("{story}; its standard error ends: {end}")
}

fn task_line(context: &Context, parts: &[Part]) -> Result<Vec<u8>, Stop> {
    encode(&ToProgram::Task {
        task: context.task(),
        skill: context.skill(),
        owner: context.owner(),
        attempt: context.attempt(),
        context_id: context.context_id(),
        message_id: context.message_id(),
        deadline: context.deadline(),
        idempotency_key: context.task().as_str(),
        input: &value_of(parts),
        parts,
    })
}

fn encode(line: &ToProgram<'_>) -> Result<Vec<u8>, Stop> {
    line.write().map_err(|error| {
        failed(Failure::Permanent, Fault::new(code::INVALID_INPUT, error.to_string()))
    })
}
