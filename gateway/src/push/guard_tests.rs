//! Every kind of address that a webhook may or may not have, a row each.

use super::*;

const PUBLIC: [&str; 8] = [
    "https://example.com/hook",
    "https://example.com:8443/hook?x=1",
    "https://8.8.8.8/",
    "https://1.1.1.1:444/",
    "https://172.32.0.1/",
    "https://100.63.255.255/",
    "https://[2606:4700:4700::1111]/",
    "https://[64:ff9b::808:808]/",
];

const REFUSED: [&str; 63] = [
    // This machine, in every spelling.
    "https://127.0.0.1/",
    "https://127.8.9.1/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://017700000001/",
    "https://127.1/",
    "https://①②⑦.0.0.1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://[::1]/",
    "https://[::]/",
    // Networks of one's own.
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://0xc0a80101/",
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://[fc00::1]/",
    "https://[fd12:3456::1]/",
    "https://[fec0::1]/",
    "https://printer.local/",
    "https://metadata.google.internal/",
    // Metadata of clouds.
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://168.63.129.16/",
    "https://[fe80::1]/",
    // One address in the clothes of another.
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::1]/",
    "https://[2001:0:7f00:1::1]/",
    // Nobody's.
    "https://192.0.2.1/",
    "https://198.51.100.7/",
    "https://203.0.113.7/",
    "https://198.18.0.1/",
    "https://192.88.99.1/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[100::1]/",
    "https://224.0.0.1/",
    "https://239.1.2.3/",
    "https://[ff02::1]/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    // Not for a webhook at all.
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://:secret@example.com/",
    "https:///",
    "https://",
    "example.com/hook",
    "/hook",
    "",
];

#[test]
fn only_addresses_of_the_public_internet_are_called() {
    for url in PUBLIC {
        assert!(Target::parse(url, false).is_ok(), "{url}");
    }
    for url in REFUSED {
        assert!(Target::parse(url, false).is_err(), "{url}");
    }
}

#[test]
fn the_switch_allows_local_addresses_and_nothing_else() {
    for (url, refused) in [
        ("http://127.0.0.1:9000/hook", false),
        ("http://localhost:9000/hook", false),
        ("https://10.0.0.1/", false),
        ("http://user@127.0.0.1/", true),
        ("ftp://127.0.0.1/", true),
        ("file:///etc/passwd", true),
    ] {
        assert_eq!(Target::parse(url, true).is_err(), refused, "{url}");
    }
}

#[test]
fn a_url_may_be_so_long_and_no_longer() {
    let of = |chars: usize| format!("https://example.com/{}", "x".repeat(chars - 20));
    assert!(Target::parse(&of(PUSH_URL_CHARS_MAX), false).is_ok());
    assert_eq!(Target::parse(&of(PUSH_URL_CHARS_MAX + 1), false), Err(Refused::TooLong));
}

#[tokio::test]
async fn a_name_is_judged_by_every_address_that_it_has() {
    let target = Target::parse("https://example.com/", false).unwrap();
    for (found, refused) in [
        (vec!["8.8.8.8:443"], false),
        (vec!["8.8.8.8:443", "[2606:4700::1]:443"], false),
        (vec!["127.0.0.1:443"], true),
        (vec!["8.8.8.8:443", "10.0.0.1:443"], true),
        (vec!["8.8.8.8:443", "[::ffff:10.0.0.1]:443"], true),
    ] {
        let found: Vec<SocketAddr> = found.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(target.judge(found.clone()).is_err(), refused, "{found:?}");
    }
    let name = Target { url: Url::parse("https://localhost/").unwrap(), allow_local: false };
    let refused = name.resolve().await.unwrap_err();
    assert_eq!((refused.clone(), refused.may_pass()), (Refused::Local("localhost".into()), false));
}
