//! Where messages may go: to addresses of the public internet. Everything that is nearer is refused, by the address itself and not by
//! the name that led to it, and the address that was looked at is the one that is connected to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How near an endpoint may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The public internet, over https.
    Public,
    /// This machine too, over http as well: for rehearsals and tests.
    PublicAndLoopback,
}

/// An address that messages may not go to. Its text holds no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forbidden(&'static str);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host is {}, where no event is sent", self.0)
    }
}

impl std::error::Error for Forbidden {}

/// Networks of version 4 that are not the public internet (the registry of RFC 6890 and its successors), and one that is and
/// answers for Azure's own machines.
const NEAR_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "a private network"),
    ([100, 64, 0, 0], 10, "a carrier's network"),
    ([127, 0, 0, 0], 8, "this machine"),
    ([168, 63, 129, 16], 32, "a cloud's own service"),
    ([169, 254, 0, 0], 16, "a link-local network"),
    ([172, 16, 0, 0], 12, "a private network"),
    ([192, 0, 0, 0], 24, "a reserved network"),
    ([192, 0, 2, 0], 24, "a reserved network"),
    ([192, 88, 99, 0], 24, "a relay"),
    ([192, 168, 0, 0], 16, "a private network"),
    ([198, 18, 0, 0], 15, "a reserved network"),
    ([198, 51, 100, 0], 24, "a reserved network"),
    ([203, 0, 113, 0], 24, "a reserved network"),
    ([224, 0, 0, 0], 4, "a multicast network"),
    ([240, 0, 0, 0], 4, "a reserved network"),
];

/// Of version 6 only 2000::/3 is handed out to the public; within it these are not, or lead to addresses of version 4.
const NEAR_V6: &[([u16; 2], u32, &str)] = &[
    ([0x2001, 0], 23, "a reserved network"),
    ([0x2001, 0x0db8], 32, "a reserved network"),
    ([0x2002, 0], 16, "a relay"),
    ([0x3fff, 0], 20, "a reserved network"),
];

fn within(bits: u32, network: u32, length: u32) -> bool {
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length)).unwrap_or(0);
    bits & mask == network & mask
}

fn near_v4(address: Ipv4Addr) -> Option<&'static str> {
    let found = NEAR_V4
        .iter()
        .find(|(network, length, _)| within(address.to_bits(), Ipv4Addr::from(*network).to_bits(), *length));
    found.map(|(_, _, what)| *what)
}

/// Addresses of version 4 that one of version 6 may lead to: ISATAP interfaces (RFC 5214, section 6.1), and translators under a prefix of
/// a network's own (RFC 6052, section 2.2: bits 64 to 71 and whatever follows the address are zero).
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 7] {
    let octets = address.octets();
    let [.., a, b, c, d] = octets;
    let isatap = matches!(address.segments(), [_, _, _, _, 0 | 0x0200, 0x5efe, _, _]);
    let behind = |length: usize| {
        // Octet 8 is no part of it.
        let mut rest =
            octets.iter().enumerate().filter(|(place, _)| *place >= length && *place != 8).map(|(_, it)| *it);
        let found: Vec<u8> = rest.by_ref().take(4).collect();
        let zero = octets.get(8).is_none_or(|octet| *octet == 0) && rest.all(|octet| octet == 0);
        <[u8; 4]>::try_from(found).ok().filter(|_| zero).map(Ipv4Addr::from)
    };
    [isatap.then(|| Ipv4Addr::new(a, b, c, d)), behind(4), behind(5), behind(6), behind(7), behind(8), behind(12)]
}

/// Is it of a network that a translator inside the deployment would lead to? Low numbers are left out: they are the plainest way to number
/// hosts of version 6 itself.
fn is_near_behind_a_translator(address: Ipv4Addr) -> bool {
    address.octets()[0] != 0 && near_v4(address).is_some_and(|what| what != "a multicast network")
}

fn near_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("this machine");
    }
    let [first, second, ..] = address.segments();
    let bits = |first: u16, second: u16| (u32::from(first) << 16) | u32::from(second);
    if first & 0xe000 != 0x2000 {
        // Mapped, compatible and translated addresses of version 4, unique local, link-local, multicast and the rest.
        return Some("no address of the public internet");
    }
    if embedded_v4(address).into_iter().flatten().any(is_near_behind_a_translator) {
        return Some("a translation of a near address");
    }
    let here = bits(first, second);
    let found = NEAR_V6.iter().find(|([one, two], length, _)| within(here, bits(*one, *two), *length));
    found.map(|(_, _, what)| *what)
}

/// May a message go to this address?
pub(super) fn may_reach(address: IpAddr, reach: Reach) -> Result<(), Forbidden> {
    let near = match address {
        IpAddr::V4(address) => near_v4(address),
        IpAddr::V6(address) => near_v6(address),
    };
    match near {
        Some(_) if reach == Reach::PublicAndLoopback && address.is_loopback() => Ok(()),
        Some(what) => Err(Forbidden(what)),
        None => Ok(()),
    }
}

/// May an endpoint have this address? Names are looked up when they are connected to.
///
/// # Errors
/// A sentence part.
pub(super) fn may_be_called(url: &Url, reach: Reach) -> Result<(), &'static str> {
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() {
        return Err("names no host");
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("carries a user or a fragment");
    }
    // An address that stands in the URL itself passes by every look-up.
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    if let Some(address) = literal {
        may_reach(address, reach).map_err(|_| "is an address that no event is sent to")?;
    }
    let here = host == "localhost" || literal.is_some_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if here && reach == Reach::PublicAndLoopback => Ok(()),
        _ => Err("is not https"),
    }
}

/// Looks names up and lets through what may be reached. One forbidden address forbids the name: which of them would be connected to is
/// not ours to choose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver {
    pub(super) reach: Reach,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &found {
                may_reach(address.ip(), reach)?;
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> bool {
        may_reach(address.parse().unwrap(), Reach::Public).is_err()
    }

    #[test]
    fn nothing_nearer_than_the_public_internet_is_reached() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            // ISATAP: the address of version 4 is the interface.
            "2600:1f18::5efe:10.0.0.1",
            "2600:1f18::200:5efe:169.254.169.254",
            "2a00:1450:4001:80b::5efe:c0a8:1",
            // Translators under a prefix of a network's own, of each length that there is.
            "2600:1f18:a00:1::",
            "2600:1f18:ff0a:0:1::",
            "2600:1f18:ff00:a00:0:100::",
            "2600:1f18:ff00:a:0:1::",
            "2600:1f18:ff00::a:0:100:0",
            "2600:1f18:ff00::10.0.0.1",
            "2600:1f18:ff00::169.254.169.254",
            "2600:1f18:ff00::127.0.0.1",
            "2600:1f18:ff00::168.63.129.16",
            "3fff::1",
            "4000::1",
        ] {
            assert!(refused(address), "{address} is reached");
        }
    }

    #[test]
    fn the_public_internet_is_reached_up_to_the_edges_of_what_is_near() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
            "2600:1f18::5efe:8.8.8.8",
            "2600:1f18:ff00::8.8.8.8",
            "2a00:1450:4001:80b::200e",
            "2600:1f18:ff00:0:100::10.0.0.1",
        ] {
            assert!(!refused(address), "{address} is refused");
        }
    }

    #[test]
    fn an_address_in_the_url_is_read_as_the_connection_reads_it() {
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://10.1/",
            "https://169.254.169.254/latest",
        ] {
            let verdict = may_be_called(&Url::parse(url).unwrap(), Reach::Public);
            assert_eq!(verdict, Err("is an address that no event is sent to"), "{url}");
        }
        for url in
            ["http://hooks.example.org/", "http://127.0.0.1:9/", "ftp://hooks.example.org/", "file:///etc/passwd"]
        {
            assert!(may_be_called(&Url::parse(url).unwrap(), Reach::Public).is_err(), "{url}");
        }
        assert_eq!(may_be_called(&Url::parse("https://hooks.example.org/a?b=c").unwrap(), Reach::Public), Ok(()));
        assert!(may_be_called(&Url::parse("https://ann:pw@hooks.example.org/").unwrap(), Reach::Public).is_err());
    }

    #[test]
    fn loopback_is_reached_only_with_leave_and_nothing_else_with_it() {
        let may = |url: &str| may_be_called(&Url::parse(url).unwrap(), Reach::PublicAndLoopback).is_ok();
        assert!(may("http://127.0.0.1:8080/") && may("http://localhost:8080/") && may("http://[::1]:8080/"));
        assert!(!may("http://10.0.0.1/") && !may("https://10.0.0.1/") && !may("http://hooks.example.org/"));
        assert!(may_reach("169.254.169.254".parse().unwrap(), Reach::PublicAndLoopback).is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_here_is_refused_when_it_is_looked_up() {
        use std::str::FromStr as _;
        let looked_up = |reach| Resolver { reach }.resolve(Name::from_str("localhost").unwrap());
        let refused = looked_up(Reach::Public).await.map(|_| ()).unwrap_err();
        assert!(refused.downcast_ref::<Forbidden>().is_some(), "{refused}");
        assert!(looked_up(Reach::PublicAndLoopback).await.is_ok());
    }
}
