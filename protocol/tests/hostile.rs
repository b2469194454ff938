//! Hostile inputs and what becomes of each: read, or refused with the right code and a place. Never a panic.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use serde_json::json;
use weft_protocol::codec::{self, A2A_JSON, JSON, MSGPACK, TEXT, decode_body};
use weft_protocol::fault::{Fault, code};
use weft_protocol::header::Headers;
use weft_protocol::limits::{
    DEPTH_MAX, FAULT_CHARS_MAX, HEADER_BYTES_MAX, PARTS_MAX, TASK_BYTES_MAX,
};
use weft_protocol::message::{Message, Part};
use weft_protocol::subject::Subjects;
use weft_protocol::submission::{Envelope, Stored};
use weft_protocol::time::Timestamp;

const MIB: usize = 1024 * 1024;

fn assert_explained(fault: &Fault, expected: &str, what: &str) {
    assert_eq!(fault.code, expected, "{what}: {fault}");
    assert!(fault.place.as_ref().is_some_and(|place| !place.is_empty()), "{what}: {fault}");
    assert!(fault.message.chars().count() <= FAULT_CHARS_MAX + 64, "{what}: a message without end");
}

#[test]
fn malformed_bodies_are_refused_with_a_place() {
    let many_parts = json!({"parts": vec![json!({"text": ""}); PARTS_MAX + 1]}).to_string();
    let long_type = format!("application/{}", "x".repeat(HEADER_BYTES_MAX));
    for (content_type, body, expected) in [
        (JSON, &b""[..], code::MALFORMED_BODY),
        (JSON, b"{\"a\":", code::MALFORMED_BODY),
        (JSON, b"{\"a\":1}}", code::MALFORMED_BODY),
        (JSON, b"{'a':1}", code::MALFORMED_BODY),
        (JSON, b"NaN", code::MALFORMED_BODY),
        (JSON, b"1e999", code::MALFORMED_BODY),
        (JSON, b"\"\\ud800\"", code::MALFORMED_BODY),
        (JSON, b"\"\xff\"", code::MALFORMED_BODY),
        (JSON, b"\xef\xbb\xbf{}", code::MALFORMED_BODY),
        (JSON, b"{}\0", code::MALFORMED_BODY),
        (A2A_JSON, b"[]", code::MALFORMED_BODY),
        (A2A_JSON, b"{\"parts\":[{\"text\":\"a\"}],\"parts\":[]}", code::MALFORMED_BODY),
        (
            A2A_JSON,
            b"{\"parts\":[{\"text\":\"a\"}],\"taskId\":\"a\",\"task_id\":\"b\"}",
            code::MALFORMED_BODY,
        ),
        (A2A_JSON, b"{\"parts\":[{\"data\":1,\"data\":2}]}", code::MALFORMED_BODY),
        (A2A_JSON, many_parts.as_bytes(), code::TOO_LARGE),
        (MSGPACK, b"", code::MALFORMED_BODY),
        (MSGPACK, b"\xc1", code::MALFORMED_BODY),
        (MSGPACK, b"{\"parts\":[{\"text\":\"a\"}]}", code::MALFORMED_BODY),
        (MSGPACK, b"\x81\xa5parts\xdd\xff\xff\xff\xff", code::MALFORMED_BODY),
        (MSGPACK, b"\x81\xa5parts\xdf\xff\xff\xff\xff", code::MALFORMED_BODY),
        (MSGPACK, b"\x81\xdb\xff\xff\xff\xffparts", code::MALFORMED_BODY),
        (MSGPACK, b"\x81\xa5parts\xc6\xff\xff\xff\xff", code::MALFORMED_BODY),
        (MSGPACK, b"\x81\xa5parts\xc9\xff\xff\xff\xff\x01", code::MALFORMED_BODY),
        (MSGPACK, b"\x81\xa5parts\x91\x81\xa4data\xc7\x01\x05\0", code::MALFORMED_BODY),
        (MSGPACK, b"\x81\xa5parts\x91\x81\xa4data\x81\x01\x02", code::MALFORMED_BODY),
        (TEXT, b"\xff\xfeh\0i\0", code::MALFORMED_BODY),
        ("application/xml", b"<a/>", code::UNSUPPORTED_CONTENT_TYPE),
        ("", b"{}", code::UNSUPPORTED_CONTENT_TYPE),
        (";", b"{}", code::UNSUPPORTED_CONTENT_TYPE),
        ("application/json\0", b"{}", code::UNSUPPORTED_CONTENT_TYPE),
        ("\u{1F980}", b"{}", code::UNSUPPORTED_CONTENT_TYPE),
        (&long_type, b"{}", code::UNSUPPORTED_CONTENT_TYPE),
    ] {
        let what = format!("{content_type:.60}: {}", body[..body.len().min(60)].escape_ascii());
        let fault = decode_body(Some(content_type), body).expect_err(&what);
        assert_explained(&fault, expected, &what);
    }
}

#[test]
fn nests_of_any_size_stop_at_the_limits() {
    let json_nest = |levels: usize| [b"[".repeat(levels), b"]".repeat(levels)].concat();
    let msgpack_nest = |levels: usize| [vec![0x91; levels - 1], vec![0x90]].concat();
    for (what, content_type, body, expected) in [
        ("1 MiB of arrays", Some(JSON), json_nest(MIB / 2), code::TOO_LARGE),
        ("1 MiB of arrays", None, json_nest(MIB / 2), code::TOO_LARGE),
        ("1 MiB of arrays", Some(MSGPACK), msgpack_nest(MIB), code::TOO_LARGE),
        ("as many as fit", Some(JSON), json_nest(TASK_BYTES_MAX / 2), code::TOO_DEEP),
        ("as many as fit", None, json_nest(TASK_BYTES_MAX / 2), code::TOO_DEEP),
        ("as many as fit", Some(A2A_JSON), json_nest(TASK_BYTES_MAX / 2), code::TOO_DEEP),
        ("arrays never closed", Some(JSON), vec![b'['; TASK_BYTES_MAX], code::TOO_DEEP),
        ("objects never closed", Some(JSON), b"{\"a\":".repeat(DEPTH_MAX + 1), code::TOO_DEEP),
        (
            "arrays in a data part",
            Some(MSGPACK),
            [&b"\x81\xa5parts\x91\x81\xa4data"[..], &msgpack_nest(TASK_BYTES_MAX - 64)].concat(),
            code::TOO_DEEP,
        ),
    ] {
        let fault = decode_body(content_type, &body).expect_err(what);
        assert_explained(&fault, expected, what);
    }
    let brackets = json!("[".repeat(TASK_BYTES_MAX / 2)).to_string();
    assert!(
        decode_body(Some(JSON), brackets.as_bytes()).is_ok(),
        "brackets in a string nest nothing"
    );
    let wide = format!("[{}[]]", "[],".repeat(TASK_BYTES_MAX / 4));
    assert!(decode_body(Some(JSON), wide.as_bytes()).is_ok(), "siblings nest nothing");
}

#[test]
fn a_message_cut_anywhere_is_refused_in_both_codecs() {
    let message = Message {
        context_id: Some("c".to_owned()),
        ..Message::from_user(vec![
            Part::data(json!({"n": [1, 2.5, null, "\u{1F980}"]})),
            Part::raw(vec![0, 255], Some("image/png".to_owned())),
        ])
    };
    let packed = codec::to_msgpack(&message).unwrap();
    let text = serde_json::to_vec(&message).unwrap();
    for (content_type, body) in [(MSGPACK, packed), (A2A_JSON, text)] {
        assert_eq!(decode_body(Some(content_type), &body).as_ref(), Ok(&message));
        for end in 0..body.len() {
            let what = format!("{content_type} cut at {end}");
            let fault = decode_body(Some(content_type), &body[..end]).expect_err(&what);
            assert_explained(&fault, code::MALFORMED_BODY, &what);
        }
        let more = [body, b"\n.".to_vec()].concat();
        assert!(decode_body(Some(content_type), &more).is_err(), "{content_type} and more");
    }
}

fn envelope(subject: &str, headers: &Headers) -> Result<Envelope, Box<(Envelope, Fault)>> {
    let stored = Stored { subject, headers, sequence: 17, at: Timestamp::from_millis(1_000) };
    Envelope::read(&Subjects::default(), stored)
        .unwrap()
        .map_err(|refused| Box::new((*refused.envelope, refused.fault)))
}

#[test]
fn poisoned_headers_are_refused_under_the_sequence_id() {
    let huge = "9".repeat(HEADER_BYTES_MAX - 100);
    let wide = "\u{1F980}".repeat(257);
    for (name, value) in [
        ("Weft-Task-Id", "a\r\nNats-Schedule: @every 1s"),
        ("Weft-Task-Id", "a\0"),
        ("Weft-Task-Id", "\u{202e}cba"),
        ("Weft-Task-Id", ""),
        ("Weft-Task-Id", "s18446744073709551616"),
        ("Weft-Task-Id", huge.as_str()),
        ("Weft-Dedup-Key", "a\u{85}b"),
        ("Weft-Dedup-Key", wide.as_str()),
        ("Weft-Context-Id", "../../etc"),
        ("Weft-Redrive-Of", "*"),
        ("Weft-Deadline", huge.as_str()),
        ("Weft-Deadline", "99999999999999999999h"),
        ("Weft-Deadline", "-9223372036854775808s"),
        ("Weft-Deadline", "9999-12-31T23:59:61Z"),
        ("Weft-Deadline", "-009999-01-01T00:00:00Z"),
        ("Weft-Deadline", "1 year"),
        ("Weft-Deadline", "NaN"),
        ("Weft-Reply-To", "a b"),
        ("Weft-Reply-To", "a\r\n+OK"),
        ("Weft-Reply-To", "a..b"),
        ("Weft-Reply-To", ".a"),
        ("Weft-Reply-To", "weft"),
        ("Weft-Reply-To", "weft.log.default.s1"),
        ("Weft-Reply-To", "$SYS.REQ.SERVER.PING"),
        ("Weft-Reply-To", wide.as_str()),
    ] {
        let what = format!("{name}: {value:.40?}");
        let headers = Headers::new().with("X-First", "1").with(name, value);
        let (envelope, fault) = *envelope("weft.task.echo.acme", &headers).expect_err(&what);
        assert_explained(&fault, code::BAD_HEADER, &what);
        assert_eq!(fault.place, Some(format!("header {name}")), "{what}");
        assert_eq!((envelope.task.as_str(), envelope.owner.as_str()), ("s17", "acme"), "{what}");
    }
    for headers in [
        Headers::new().with("X", "x".repeat(HEADER_BYTES_MAX)),
        (0..10_000).map(|index| (format!("X-{index}"), String::new())).collect(),
    ] {
        let (_, fault) = *envelope("weft.task.echo", &headers).unwrap_err();
        assert_explained(&fault, code::TOO_LARGE, "too many headers");
    }
    for (name, value) in [("Weft-Generation", "-1"), ("Weft-Generation", "18446744073709551616")] {
        let headers =
            Headers::new().with("Weft-Task-Id", "a").with("Weft-Owner", "b").with(name, value);
        let (_, fault) = *envelope("weft.run.echo", &headers).unwrap_err();
        assert_explained(&fault, code::BAD_HEADER, value);
    }
}

#[test]
fn odd_headers_that_are_fine_are_read() {
    for (name, value, task, deadline) in [
        ("Weft-Deadline", "2562047788015215h", "s17", Some(Timestamp::MAX)),
        ("Weft-Deadline", "PT0S", "s17", Some(Timestamp::from_millis(1_000))),
        ("Weft-Deadline", "0000-01-01T00:00:00Z", "s17", Some(Timestamp::MIN)),
        ("Weft-Task-Id", " a ", "a", None),
        ("X-\u{1F980}", "\r\n\0", "s17", None),
        ("", "", "s17", None),
    ] {
        // Of two headers of one name the first counts, in any case.
        let headers = Headers::new().with(name, value).with(name.to_uppercase(), "?");
        let read = envelope("weft.task.echo", &headers).unwrap();
        assert_eq!((read.task.as_str(), read.deadline), (task, deadline), "{name}: {value:?}");
    }
}
