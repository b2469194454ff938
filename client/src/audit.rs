//! Reads what the doors decided: the newest entries that fit, or those behind a place that was read up to.
//!
//! The stream is read backwards in windows that grow, so that the newest entries of a long audit come at once and rare
//! ones are found in the end.

use std::collections::HashSet;
use std::ops::ControlFlow;

use protocol::audit::AuditEntry;
use protocol::{Owner, Timestamp};
use runtime::bus::{ReadError, StoredMessage};

use crate::Client;

/// Messages of the first window.
const WINDOW_FIRST: u64 = 1_024;
/// Messages of a window, at most.
const WINDOW_MAX: u64 = 65_536;

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only those on behalf of this owner.
    pub owner: Option<Owner>,
    /// Only those about this caller.
    pub caller: Option<String>,
    /// Only those that were allowed, or only those that were not.
    pub allowed: Option<bool>,
    /// Only those of this operation.
    pub operation: Option<String>,
    /// Only those about this task.
    pub task: Option<String>,
    /// Only those of this request.
    pub request: Option<String>,
    /// Only those decided at this time or later.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries; one that was stored twice is there once.
    pub entries: Vec<AuditEntry>,
    /// Messages that are no entries.
    pub unreadable: usize,
    /// The sequence of the last message that was looked at.
    pub read_to: u64,
    /// Whether there may be more.
    pub more: bool,
}

impl AuditQuery {
    fn fits(&self, entry: &AuditEntry) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        same(&self.caller, entry.caller.as_deref())
            && same(&self.operation, entry.operation.as_deref())
            && same(&self.task, entry.task.as_deref())
            && same(&self.request, Some(&entry.request))
            && self.allowed.is_none_or(|allowed| entry.allowed == allowed)
            && self.since.is_none_or(|since| entry.at >= since)
    }
}

impl AuditPage {
    fn take(&mut self, query: &AuditQuery, ids: &mut HashSet<String>, message: &StoredMessage) {
        match serde_json::from_slice::<AuditEntry>(&message.payload) {
            Ok(entry) if query.fits(&entry) => {
                if ids.insert(entry.id.clone()) {
                    self.entries.push(entry);
                }
            }
            Ok(_) => {}
            Err(_) => self.unreadable += 1,
        }
    }
}

impl Client {
    /// The newest entries that fit, newest first.
    ///
    /// # Errors
    /// When the audit cannot be read.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, ReadError> {
        let (bus, stream) = (self.bus(), &self.bus().names().audit);
        let state = bus.stream_state(stream).await?;
        let mut page = AuditPage { read_to: state.last_seq, ..AuditPage::default() };
        let (mut ids, first) = (HashSet::new(), state.first_seq.max(1));
        let (mut end, mut window) = (state.last_seq + 1, WINDOW_FIRST);
        while end > first {
            let start = end.saturating_sub(window).max(first);
            let (mut some, mut is_early) = (Vec::new(), false);
            let look = |message: StoredMessage| {
                if message.sequence >= end {
                    return ControlFlow::Break(());
                }
                // Entries are stored after what they tell was decided.
                is_early |= query.since.is_some_and(|since| message.at < since);
                some.push(message);
                ControlFlow::Continue(())
            };
            bus.scan(stream, &self.audit_filter(query), start, look).await?;
            for message in some.iter().rev() {
                if page.entries.len() >= query.limit {
                    page.more = true;
                    return Ok(page);
                }
                page.take(query, &mut ids, message);
            }
            if is_early {
                break;
            }
            (end, window) = (start, (window * 4).min(WINDOW_MAX));
        }
        Ok(page)
    }

    /// The entries that fit and were stored behind a sequence, oldest first; however many.
    ///
    /// # Errors
    /// When the audit cannot be read.
    pub async fn audit_behind(
        &self,
        query: &AuditQuery,
        sequence: u64,
    ) -> Result<AuditPage, ReadError> {
        let (bus, stream) = (self.bus(), &self.bus().names().audit);
        let mut page = AuditPage { read_to: sequence, ..AuditPage::default() };
        let mut ids = HashSet::new();
        let look = |message: StoredMessage| {
            page.read_to = message.sequence;
            page.take(query, &mut ids, &message);
            ControlFlow::Continue(())
        };
        bus.scan(stream, &self.audit_filter(query), sequence + 1, look).await?;
        Ok(page)
    }

    fn audit_filter(&self, query: &AuditQuery) -> String {
        let subjects = self.bus().subjects();
        query
            .owner
            .as_ref()
            .map_or_else(|| subjects.all_audits(), |owner| subjects.audit(owner.as_str()))
    }
}
