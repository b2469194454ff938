//! Bodies of people without A2A: text, JSON, an A2A message or bytes, told apart as on the bus.

use bytes::Bytes;
use protocol::codec;
use protocol::limits::TASK_BYTES_MAX;
use protocol::message::{Message, Part};

use super::body;
use crate::a2a::error::Error;

/// What `curl -d` says when it is told nothing else: it knows nothing of the body.
const FORM: &str = "application/x-www-form-urlencoded";

/// The message of a body. What is larger than a task may be becomes one part, which the core puts into the object store.
pub(super) fn message(content_type: Option<&str>, bytes: &Bytes) -> Result<Message, Error> {
    let content_type = content_type.filter(|said| !said.starts_with(FORM));
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(codec::A2A_JSON) {
        return body::request(body::json(bytes)?, &["parts"]);
    }
    if bytes.len() <= TASK_BYTES_MAX || essence == codec::MSGPACK {
        return codec::decode_body(content_type, bytes).map_err(|fault| {
            let place = fault.place.unwrap_or_else(|| "body".to_owned());
            Error::field(place, fault.message)
        });
    }
    let part = match essence {
        codec::JSON => Part::data(body::json(bytes)?),
        "" | codec::TEXT => match std::str::from_utf8(bytes) {
            Ok(text) => Part::text(text),
            Err(_) => Part::raw(bytes.to_vec(), None),
        },
        _ => Part::raw(bytes.to_vec(), content_type.map(str::to_owned)),
    };
    Ok(Message::from_user(vec![part]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::message::Content;
    use serde_json::json;

    #[test]
    fn bodies_speak_for_themselves_and_large_ones_are_one_part() {
        let part = |content_type: Option<&str>, bytes: Vec<u8>| {
            message(content_type, &bytes.into()).map(|mut message| message.parts.remove(0).content)
        };
        let text = |text: &str| Ok(Content::Text(text.to_owned()));
        assert_eq!(part(None, b"hello".to_vec()), text("hello"));
        assert_eq!(part(Some(FORM), b"a=b".to_vec()), text("a=b"));
        assert_eq!(part(None, b"{\"a\":1}".to_vec()), Ok(Content::Data(json!({"a": 1}))));
        assert!(part(Some("application/json"), b"{".to_vec()).is_err());
        let large = vec![b'x'; TASK_BYTES_MAX + 1];
        assert_eq!(part(None, large.clone()), Ok(Content::Text("x".repeat(large.len()))));
        assert_eq!(part(Some("image/png"), large.clone()), Ok(Content::Raw(large.clone())));
        assert!(part(Some(codec::MSGPACK), large).is_err());
        let wrong = part(Some(codec::A2A_JSON), b"{\"parts\": [{\"raw\": \"!\"}]}".to_vec());
        assert_eq!(wrong.unwrap_err().violations()[0].field, "parts[0].raw");
    }
}
