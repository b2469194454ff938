//! A gRPC client of a gateway that keeps no deadlines and hides nothing: HTTP/2 frames and handmade protobuf.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use runtime::supervisor::{Kind, Supervisor};
use tokio::net::TcpStream;

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(oneof = "Sort", tags = "2, 3, 5, 6")]
    sort: Option<Sort>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Sort {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(message, tag = "5")]
    Object(Object),
    #[prost(message, tag = "6")]
    List(List),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Object {
    #[prost(map = "string, message", tag = "1")]
    fields: HashMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Part {
    #[prost(message, optional, tag = "4")]
    data: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Said {
    #[prost(string, tag = "1")]
    message_id: String,
    #[prost(int32, tag = "4")]
    role: i32,
    #[prost(message, repeated, tag = "5")]
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sending {
    #[prost(message, optional, tag = "2")]
    message: Option<Said>,
}

fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let sort = match json {
        Json::Number(number) => number.as_f64().map(Sort::Number),
        Json::String(text) => Some(Sort::Text(text.clone())),
        Json::Object(members) => {
            let fields = members.iter().map(|(name, one)| (name.clone(), value(one)));
            Some(Sort::Object(Object { fields: fields.collect() }))
        }
        Json::Array(items) => Some(Sort::List(List { values: items.iter().map(value).collect() })),
        Json::Null | Json::Bool(_) => None,
    };
    Value { sort }
}

/// A `SendMessageRequest` that has the agent `play` do these acts.
#[must_use]
pub fn plays(acts: serde_json::Value) -> Vec<u8> {
    let data = Some(value(&serde_json::json!({ "acts": acts })));
    let message = Some(Said { message_id: "m1".to_owned(), role: 1, parts: vec![Part { data }] });
    Sending { message }.encode_to_vec()
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// `grpc-status`.
    pub status: String,
    /// `grpc-status-details-bin` as text, where it is any.
    pub details: String,
    /// Bytes of messages that came before.
    pub bytes: usize,
}

/// A connection to a gateway.
pub struct Caller {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Caller {
    /// Connects. What keeps the connection going belongs to `jobs`.
    pub async fn connect(address: &str, jobs: &Supervisor) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
        jobs.spawn("connection", Kind::Work, async { drop(connection.await) });
        Self { address: address.to_owned(), sender }
    }

    /// One call, to its end.
    ///
    /// # Panics
    /// When it ends without a status.
    pub async fn call(&mut self, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Ended {
        let path = format!("http://{}/lf.a2a.v1.A2AService/{method}", self.address);
        let mut request = axum::http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("a2a-version", "1.0")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let frame = [&[0], length.as_slice(), body].concat();
        let request = request.body(Full::new(Bytes::from(frame))).unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let head = response.headers().clone();
        let rest = response.into_body().collect().await.unwrap();
        let trailers = rest.trailers().cloned().unwrap_or_default();
        let said = |name: &str| {
            let value = trailers.get(name).or_else(|| head.get(name))?;
            value.to_str().ok().map(str::to_owned)
        };
        let details = said("grpc-status-details-bin").and_then(|text| {
            let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        });
        Ended {
            status: said("grpc-status").expect("a status"),
            details: details.unwrap_or_default(),
            bytes: rest.to_bytes().len(),
        }
    }
}
