//! The name in a client's certificate that TLS has checked: its first DNS name or URI, else its common name.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The name, if the certificate has one that is text.
pub(crate) fn name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let other = || certificate.valid_uri_names().next();
    if let Some(name) = certificate.valid_dns_names().next().or_else(other) {
        return Some(name.to_owned());
    }
    common_name(certificate.subject()).map(str::to_owned)
}

/// `2.5.4.3`.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
/// `UTF8String`, `PrintableString`, `IA5String`.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// The last common name in a subject: a list of sets of pairs, in DER.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    let mut found = None;
    while !subject.is_empty() {
        let (SET, mut set, rest) = element(subject)? else { return found };
        subject = rest;
        while !set.is_empty() {
            let (SEQUENCE, pair, rest) = element(set)? else { return found };
            set = rest;
            let (OBJECT_ID, kind, value) = element(pair)? else { return found };
            if let (COMMON_NAME, (tag, text, _)) = (kind, element(value)?)
                && TEXTS.contains(&tag)
            {
                found = std::str::from_utf8(text).ok().filter(|text| !text.is_empty());
            }
        }
    }
    found
}

/// The tag and content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_at_checked(2)?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap()], content.as_slice()].concat()
    }

    fn pair(kind: &[u8], tag: u8, text: &str) -> Vec<u8> {
        wrap(SEQUENCE, &[&wrap(OBJECT_ID, &[kind]), &wrap(tag, &[text.as_bytes()])])
    }

    #[test]
    fn the_common_name_is_found_and_nothing_else_is_taken_for_it() {
        let country = wrap(SET, &[&pair(&[0x55, 0x04, 0x06], 0x13, "DE")]);
        let alice = wrap(SET, &[&pair(COMMON_NAME, 0x0c, "alice")]);
        let bytes = wrap(SET, &[&pair(COMMON_NAME, 0x04, "raw")]);
        for (subject, name) in [
            ([country.as_slice(), &alice].concat(), Some("alice")),
            (alice.clone(), Some("alice")),
            (country.clone(), None),
            (bytes, None),
            (Vec::new(), None),
            (alice[..alice.len() - 1].to_vec(), None),
            (vec![SET, 0x84, 0xff, 0xff, 0xff, 0xff], None),
        ] {
            assert_eq!(common_name(&subject), name, "{subject:x?}");
        }
    }
}
