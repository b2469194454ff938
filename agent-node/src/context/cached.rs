//! Earlier results of equal work, for pieces that may do with one.
//!
//! Kept in the state bucket under owner, skill and the hash of the input. A read is a step: what it found is in the
//! log, so that every run of the task goes on with the same.

use protocol::Timestamp;
use protocol::approval::action_hash;
use protocol::message::Part;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::delegate::{OnFailure, Piece};
use super::step::as_json;
use super::turn::Turn;
use super::{Context, transient};
use crate::agent::Stop;

/// A kept result.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// When the child ended that returned it.
    at: Timestamp,
    /// The result, large values by reference.
    output: Vec<Part>,
}

impl Context {
    /// Keeps the results of pieces that may do with an earlier one. Not keeping one is no failure of the task.
    pub(super) async fn keep_results(&self, pieces: &[&mut Piece]) {
        for piece in pieces {
            let (OnFailure::Cached { .. }, Some(end), Some(key)) =
                (&piece.work.on_failure, &piece.end, self.key_of(piece))
            else {
                continue;
            };
            if end.result.is_err() {
                continue;
            }
            let kept = Kept { at: end.at, output: end.output.clone() };
            let Ok(value) = serde_json::to_vec(&kept) else { continue };
            if let Err(fault) = self.around.mesh.keep(key, value.into()).await {
                tracing::warn!(reason = %fault, "a child's result is not kept");
            }
        }
    }

    /// Gives the failed pieces that may do with an earlier result that result.
    pub(super) async fn fill_from_cache(
        &self,
        turn: &mut Turn<'_>,
        name: &str,
        pieces: &mut [Piece],
    ) -> Result<(), Stop> {
        for (at, piece) in pieces.iter_mut().enumerate() {
            let OnFailure::Cached { no_older_than } = piece.work.on_failure else { continue };
            if piece.end.as_ref().is_none_or(|end| end.result.is_ok()) {
                continue;
            }
            let Some(key) = self.key_of(piece) else { continue };
            let step = format!("{name} cached {at}");
            let found: Option<Kept> = match self.recorded_step(turn, &step).await? {
                Some(value) => self.fitting(&step, value).await?,
                None => {
                    let read = self.around.mesh.kept(&key).await.map_err(transient)?;
                    let kept = read.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
                    let now = self.scribe.clock().now();
                    let kept = kept.filter(|kept| now.since(kept.at) <= no_older_than);
                    self.write_step(turn, &step, as_json(&step, &kept)?).await?;
                    kept
                }
            };
            if let Some(kept) = found {
                let result: Value = self.load(kept.output).await?;
                if let Some(end) = &mut piece.end {
                    end.result = Ok(result);
                }
            }
        }
        Ok(())
    }

    /// Where results of equal work are kept.
    fn key_of(&self, piece: &Piece) -> Option<String> {
        let skill = piece.skill.as_ref()?;
        Some(format!("result.{}.{skill}.{}", self.owner(), action_hash(&piece.work.input)))
    }
}
