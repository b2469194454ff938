//! Reads what is left of a request that nobody reads, as far as it is little and comes soon.
//!
//! An HTTP/1.1 connection with unread bytes on it ends with the answer, and its client finds out with its next request. A
//! larger body is not waited for: the answer goes out at once, and the connection lingers ([`crate::serve`]).

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::limits::{DRAIN_WAIT, DRAINED_BYTES_MAX};

/// Reads and forgets.
pub async fn drain(body: Body) {
    let says_little =
        usize::try_from(body.size_hint().lower()).is_ok_and(|n| n <= DRAINED_BYTES_MAX);
    if !says_little {
        return;
    }
    let reading = async {
        let (mut body, mut bytes) = (body, 0);
        while let Some(Ok(frame)) = body.frame().await
            && bytes <= DRAINED_BYTES_MAX
        {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Whatever is left then, the connection is closed over it.
    drop(tokio::time::timeout(DRAIN_WAIT, reading).await);
}
