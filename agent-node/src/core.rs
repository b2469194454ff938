//! What all attempts of a node share.

use std::sync::Arc;

use protocol::NodeName;
use runtime::bus::Bus;
use runtime::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::cancel::Cancels;
use crate::hand::Hand;
use crate::ledger::Ledger;

/// What all attempts of a node share.
pub(crate) struct Core {
    pub(crate) bus: Bus,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) clock: Clock,
    pub(crate) node: NodeName,
    pub(crate) cancels: Cancels,
    pub(crate) hand: Hand,
    /// Cancelled once the node gives its tasks back.
    pub(crate) release: CancellationToken,
}
