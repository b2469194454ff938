//! `weft audit`: what the doors of gateways decided.

use std::time::Duration;

use client::{AuditQuery, Client};
use protocol::{Owner, Timestamp};
use runtime::bus::ReadError;
use runtime::clock::Clock;
use runtime::config::{OPERATIONS, Span};

use crate::failure::{Exit, Failure};
use crate::print::{Printer, audit};
use crate::session::{ClientArgs, Session};

/// How often a follower looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Show what gateways decided about requests, newest first: who, what, whether it was allowed, why not
///
/// Reads the audit stream, which keeps what gateway.audit says for as long as it says.
#[derive(clap::Args)]
pub(crate) struct Audit {
    /// Only requests of this caller, as gateway.keys, tokens or certificates name them
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Only requests on behalf of this owner; unknown- for callers who could not show who they are
    #[arg(long)]
    owner: Option<Owner>,
    /// Only those decided like this
    #[arg(long, value_enum)]
    decision: Option<Decision>,
    /// Only this operation
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(OPERATIONS))]
    operation: Option<String>,
    /// Only requests about this task
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only this request, by the X-Request-Id of its answer
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Only what was decided since then: a duration such as 2h, or a time such as 2026-11-21T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Since>,
    /// At most so many; with --follow, so many of those that are there, or none with 0
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Go on with each further decision; oldest first then, a line each
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// What a door says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Decision {
    /// It was let in.
    Allowed,
    /// It was not.
    Denied,
}

/// A point in time, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Ago(Duration),
    At(Timestamp),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(Span(wait)) = text.parse() {
        return Ok(Since::Ago(wait));
    }
    let at = Timestamp::parse(text).map_err(|_| {
        format!("{text:?} is neither a duration such as 2h nor a time such as 2026-11-21T12:00:00Z")
    })?;
    Ok(Since::At(at))
}

impl Audit {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        if self.limit == 0 && !self.follow {
            return Err(Failure::say(Exit::Usage, "--limit 0 would list nothing")
                .todo("with --follow it leaves out what is there already"));
        }
        let Session { client, mut printer, .. } = Session::open(&self.client).await?;
        let query = self.query(Clock::system().now());
        let page = client.audit(&query).await?;
        if !self.follow {
            return Ok(audit::list(&mut printer, &page)?);
        }
        for entry in page.entries.iter().rev() {
            audit::line(&mut printer, entry)?;
        }
        Box::pin(follow(&client, &mut printer, &query, page.read_to)).await
    }

    fn query(&self, now: Timestamp) -> AuditQuery {
        AuditQuery {
            owner: self.owner.clone(),
            caller: self.caller.clone(),
            allowed: self.decision.map(|decision| decision == Decision::Allowed),
            operation: self.operation.clone(),
            task: self.task.clone(),
            request: self.request.clone(),
            since: self.since.map(|since| match since {
                Since::At(at) => at,
                Since::Ago(wait) => {
                    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                    Timestamp::from_millis(now.millis().saturating_sub(wait))
                }
            }),
            limit: self.limit,
        }
    }
}

/// Prints what comes, until somebody ends the command. A server that does not answer for a while is asked again.
async fn follow(
    client: &Client,
    printer: &mut Printer,
    query: &AuditQuery,
    mut read_to: u64,
) -> Result<(), Failure> {
    let mut is_silent = false;
    loop {
        match client.audit_behind(query, read_to).await {
            Ok(page) => {
                for entry in &page.entries {
                    audit::line(printer, entry)?;
                }
                (read_to, is_silent) = (page.read_to, false);
            }
            Err(error @ ReadError::Denied { .. }) => return Err(error.into()),
            Err(error) => {
                if !is_silent {
                    printer.note(&format!("{error}; asking again"));
                }
                is_silent = true;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_time() {
        for (text, expected) in [
            ("2h", Ok(Since::Ago(Duration::from_secs(7_200)))),
            ("1970-01-01T00:00:01Z", Ok(Since::At(Timestamp::from_millis(1_000)))),
        ] {
            assert_eq!(since(text), expected);
        }
        let told = since("yesterday").unwrap_err();
        assert!(told.contains("yesterday") && told.contains("2h"), "{told}");
    }
}
