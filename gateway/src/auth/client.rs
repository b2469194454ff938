//! Whose address a request came from, behind the proxies that are trusted to tell.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use runtime::config::Network;

/// The client's address: the nearest one that is no trusted proxy. Proxies append to `X-Forwarded-For`, so that only
/// what trusted ones have written is read, from the end on.
pub(super) fn address(connection: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let mut address = connection.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok());
    let told: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    for told in told.into_iter().rev() {
        if !proxies.iter().any(|proxy| proxy.holds(address)) {
            break;
        }
        let Ok(further) = told.parse::<IpAddr>() else { break };
        address = further.to_canonical();
    }
    address
}

/// What counts as one client: an IPv4 address, or the 64 bits of an IPv6 one that a household or host gets as a whole.
#[must_use]
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_tell_is_believed() {
        let proxies: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
        for (connection, forwarded, client) in [
            ("203.0.113.9", None, "203.0.113.9"),
            ("203.0.113.9", Some("192.0.2.1"), "203.0.113.9"),
            ("10.0.0.1", Some("192.0.2.1"), "192.0.2.1"),
            ("10.0.0.1", Some("1.1.1.1, 192.0.2.1"), "192.0.2.1"),
            ("10.0.0.1", Some("1.1.1.1, 192.0.2.1, 10.0.0.2"), "192.0.2.1"),
            ("::ffff:10.0.0.1", Some("192.0.2.1"), "192.0.2.1"),
            ("10.0.0.1", Some("nonsense"), "10.0.0.1"),
            ("10.0.0.1", None, "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(forwarded) = forwarded {
                headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            }
            let found = address(connection.parse().unwrap(), &headers, &proxies);
            assert_eq!(found.to_string(), client, "{connection} {forwarded:?}");
        }
        let one = |text: &str| household(text.parse().unwrap()).to_string();
        assert_eq!(one("2001:db8::7:8:9:a"), "2001:db8::");
        assert_eq!(one("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
