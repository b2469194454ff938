//! A client of the doors: one connection, kept open, one request at a time.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use runtime::supervisor::{Kind, Supervisor};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::BenchError;

/// An open connection.
pub(super) struct Door {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

fn fail(error: &dyn std::error::Error) -> BenchError {
    BenchError::weft("ask over HTTP")(error)
}

impl Door {
    pub(super) async fn open(address: &str, jobs: &Supervisor) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(|error| fail(&error))?;
        stream.set_nodelay(true).map_err(|error| fail(&error))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| fail(&error))?;
        jobs.spawn("door", Kind::Work, async move {
            // A connection that breaks is an error of the request on it.
            drop(connection.await);
        });
        Ok(Self { sender, host: address.to_owned() })
    }

    /// Posts a body and returns the answer's head, with the body still to come.
    pub(super) async fn post(
        &mut self,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, BenchError> {
        let request = Request::post(path)
            .header("Host", &self.host)
            .header("Content-Type", "application/json")
            .header("A2A-Version", "1.0")
            .body(Full::new(body))
            .map_err(|error| fail(&error))?;
        self.sender.ready().await.map_err(|error| fail(&error))?;
        self.sender.send_request(request).await.map_err(|error| fail(&error))
    }

    /// Posts a JSON-RPC request and returns the answer.
    pub(super) async fn call(&mut self, path: &str, body: Bytes) -> Result<Bytes, BenchError> {
        let answer = self.post(path, body).await?;
        Ok(answer.into_body().collect().await.map_err(|error| fail(&error))?.to_bytes())
    }
}

/// A JSON-RPC request.
pub(super) fn request(method: &str, params: &Value) -> Bytes {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string().into()
}

/// A blocking `SendMessage` of so many bytes.
pub(super) fn message(bytes: usize) -> Bytes {
    let part = json!({"text": "x".repeat(bytes)});
    let message = json!({"messageId": "m1", "role": "ROLE_USER", "parts": [part]});
    request("SendMessage", &json!({"message": message}))
}
