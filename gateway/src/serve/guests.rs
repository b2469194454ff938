//! How many connections each address has.

use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use runtime::config::Network;

use crate::auth::household;

/// Counts connections by address.
#[derive(Clone)]
pub(super) struct Guests(Arc<Inner>);

struct Inner {
    most: usize,
    free: Vec<Network>,
    counts: DashMap<IpAddr, usize>,
}

/// A connection's place, given back when it is dropped.
pub(super) struct Place(Option<(Guests, IpAddr)>);

impl Guests {
    /// At most `most` each; this machine and those in `free` have no limit.
    pub(super) fn new(most: usize, free: Vec<Network>) -> Self {
        Self(Arc::new(Inner { most, free, counts: DashMap::new() }))
    }

    /// A place, unless the address has all of its own.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        if address.is_loopback() || self.0.free.iter().any(|network| network.holds(address)) {
            return Some(Place(None));
        }
        let address = household(address);
        let mut count = self.0.counts.entry(address).or_insert(0);
        if *count >= self.0.most {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.clone(), address))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((guests, address)) = self.0.take() else { return };
        if let Entry::Occupied(mut entry) = guests.0.counts.entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_places_and_gives_them_back() {
        let guests = Guests::new(2, vec!["10.0.0.0/8".parse().unwrap()]);
        let take = |text: &str| guests.take(text.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let _second = take("::ffff:192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        let _other = take("192.0.2.2").unwrap();
        drop(first);
        let _again = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        let _near: Vec<Place> =
            (0..5).flat_map(|_| [take("127.0.0.1").unwrap(), take("10.1.2.3").unwrap()]).collect();
        let _six = (take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap());
        assert!(take("2001:db8::3").is_none(), "one household");
        assert_eq!(guests.0.counts.len(), 3);
    }
}
