//! Counts the messages of one subject, without reading them.

use std::collections::HashMap;

use protocol::header::Headers;
use serde::Deserialize;

use super::{Bus, REQUEST_TIMEOUT, ReadError};

#[derive(Deserialize)]
struct Answer {
    state: Option<State>,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    subjects: HashMap<String, usize>,
}

impl Bus {
    /// How many messages a stream holds on a subject without wildcards, by the stream's leader.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn count(&self, stream: &str, subject: &str) -> Result<usize, ReadError> {
        let api = format!("$JS.API.STREAM.INFO.{stream}");
        let body = serde_json::json!({ "subjects_filter": subject }).to_string();
        let answer = self
            .ask(api.clone(), &Headers::new(), body.into(), REQUEST_TIMEOUT)
            .await
            .map_err(|error| self.read_error(stream, &api, &error.reason))?;
        let answer: Answer = serde_json::from_slice(&answer.payload)
            .map_err(|error| self.read_error(stream, &api, &error.to_string()))?;
        let state = answer
            .state
            .ok_or_else(|| self.read_error(stream, &api, "the stream does not exist"))?;
        Ok(state.subjects.get(subject).copied().unwrap_or(0))
    }
}
