//! Which URLs may be fetched (image-api 3.6): pure functions of a URL and of the addresses that its
//! host has.
//!
//! The URL is read twice: by the `url` crate, whose reading is the one that is connected to, and as
//! it is spelled. A host that the crate takes for an address must be spelled as one, in the plain
//! form: `2130706433`, `0x7f.1` or full-width digits are addresses to it, and names to no list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use url_host::Host;

use crate::config::UriFilter;

/// A URL may not be fetched. Why is for the log: a client is told the text only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The URL is not allowed.")]
pub struct Refused(
    /// Which rule.
    pub &'static str,
);

/// The rules of `[import.uri_filter]`.
#[derive(Debug, Clone)]
pub struct Filter(UriFilter);

impl Filter {
    /// From the configuration; hosts are compared without case and final dot.
    pub fn new(config: &UriFilter) -> Self {
        let mut config = config.clone();
        for hosts in [&mut config.allowed_hosts, &mut config.disallowed_hosts] {
            for host in hosts {
                *host = plain_name(host);
            }
        }
        for schemes in [&mut config.allowed_schemes, &mut config.disallowed_schemes] {
            schemes
                .iter_mut()
                .for_each(|name| name.make_ascii_lowercase());
        }
        Self(config)
    }

    /// Everything but the addresses that a name has.
    pub fn url(&self, text: &str) -> Result<Url, Refused> {
        let url = Url::parse(text).map_err(|_| Refused("it is no URL"))?;
        let spelled = Spelled::of(text).ok_or(Refused("it is no URL of a host"))?;
        let rules = &self.0;
        if !matches!(url.scheme(), "http" | "https")
            || !passes(
                &rules.allowed_schemes,
                &rules.disallowed_schemes,
                url.scheme(),
            )
        {
            return Err(Refused("scheme"));
        }
        match spelled.port {
            None => {}
            Some(port) => {
                let port = port.parse().map_err(|_| Refused("it has no such port"))?;
                if url.port_or_known_default() != Some(port)
                    || !passes(&rules.allowed_ports, &rules.disallowed_ports, &port)
                {
                    return Err(Refused("port"));
                }
            }
        }
        let host = Host::of(&url).ok_or(Refused("it names no host"))?;
        let is_spelled = match host {
            Host::V4(address) => spelled.host.parse() == Ok(address),
            Host::V6(address) => {
                let inner = spelled
                    .host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'));
                inner.is_some_and(|inner| inner.parse() == Ok(address))
            }
            Host::Name(_) => true,
        };
        if !is_spelled {
            return Err(Refused("an address in an odd form"));
        }
        let name = host.to_string();
        if !passes(
            &rules.allowed_hosts,
            &rules.disallowed_hosts,
            &plain_name(&name),
        ) {
            return Err(Refused("host"));
        }
        if let Some(address) = host.address() {
            self.addresses(&name, &[address])?;
        }
        Ok(url)
    }

    /// Of the addresses of a host those that may be connected to; never none.
    pub fn addresses(&self, host: &str, resolved: &[IpAddr]) -> Result<Vec<IpAddr>, Refused> {
        let host = plain_name(host);
        if self.0.allowed_hosts.contains(&host) {
            return Some(resolved.to_vec())
                .filter(|all| !all.is_empty())
                .ok_or(Refused("the host has no address"));
        }
        let denied = |address: IpAddr| {
            let denied = self.0.disallowed_hosts.iter();
            self.0.allowed_hosts.is_empty()
                && denied
                    .filter_map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok())
                    .any(|host| host.to_canonical() == address.to_canonical())
        };
        let passed: Vec<IpAddr> = resolved
            .iter()
            .copied()
            .filter(|address| !is_near(*address) && !denied(*address))
            .collect();
        if passed.is_empty() {
            return Err(Refused("the host has no allowed address"));
        }
        Ok(passed)
    }
}

/// A level of the filter: a non-empty list of what is allowed wins.
fn passes<T: PartialEq<U>, U: ?Sized>(allowed: &[T], disallowed: &[T], what: &U) -> bool {
    if allowed.is_empty() {
        !disallowed.iter().any(|denied| denied == what)
    } else {
        allowed.iter().any(|allowed| allowed == what)
    }
}

fn plain_name(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether an address leads to this machine, to its link or to nobody in particular, also by way of
/// a translation of IPv4 into IPv6.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_near_v4(address),
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || embedded(address).is_some_and(is_near_v4)
        }
    }
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address.octets()[0] == 0
}

/// The IPv4 address in a mapped, compatible, NAT64 or 6to4 one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Host and port as they are spelled.
struct Spelled<'a> {
    host: &'a str,
    port: Option<&'a str>,
}

impl<'a> Spelled<'a> {
    /// None where the spelling leaves room for two readings: spaces, control characters and
    /// backslashes are dropped or turned by some.
    fn of(text: &'a str) -> Option<Self> {
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
            return None;
        }
        let (_, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = rest.get(..end)?;
        let (before, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if before.contains('@') {
            return None;
        }
        let port_at = match host.rfind(']') {
            Some(bracket) => host.get(bracket..)?.find(':').map(|at| bracket + at),
            None => host.find(':'),
        };
        let (host, port) = match port_at {
            Some(at) => (host.get(..at)?, host.get(at + 1..)),
            None => (host, None),
        };
        (!host.is_empty()).then_some(Self {
            host,
            port: port.filter(|port| !port.is_empty()),
        })
    }
}

/// The host of a URL by kind: `url::Host` has no name in `reqwest`.
mod url_host {
    use std::{
        fmt,
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
    };

    use reqwest::Url;

    #[derive(Debug, Clone, Copy)]
    pub(super) enum Host<'a> {
        V4(Ipv4Addr),
        V6(Ipv6Addr),
        Name(&'a str),
    }

    impl<'a> Host<'a> {
        pub(super) fn of(url: &'a Url) -> Option<Self> {
            let text = url.host_str()?;
            // Normalized: an address is in its plain form here.
            if let Some(inner) = text.strip_prefix('[') {
                return inner.strip_suffix(']')?.parse().ok().map(Self::V6);
            }
            Some(text.parse().map_or(Self::Name(text), Self::V4))
        }

        pub(super) fn address(self) -> Option<IpAddr> {
            match self {
                Self::V4(address) => Some(IpAddr::V4(address)),
                Self::V6(address) => Some(IpAddr::V6(address)),
                Self::Name(_) => None,
            }
        }
    }

    impl fmt::Display for Host<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::V4(address) => address.fmt(f),
                Self::V6(address) => address.fmt(f),
                Self::Name(name) => f.write_str(name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(change: impl FnOnce(&mut UriFilter)) -> Filter {
        let mut config = UriFilter::default();
        change(&mut config);
        Filter::new(&config)
    }

    fn any_port() -> Filter {
        filter(|rules| rules.allowed_ports.clear())
    }

    #[test]
    fn on_each_level_what_is_allowed_wins_over_what_is_not() {
        let plain = filter(|_| {});
        for good in [
            "http://images.example.org/a.img?x=1",
            "HTTPS://images.example.org:443/",
            "http://192.0.2.7/",
            "http://10.0.0.1:80/rfc1918",
            "http://[2001:db8::1]/",
            "http://user:secret@images.example.org/",
            "http://images.example.org:/",
        ] {
            assert!(plain.url(good).is_ok(), "{good}");
        }
        for bad in [
            "ftp://images.example.org/",
            "file:///etc/passwd",
            "http://images.example.org:22/",
            "http:///a",
            "http:a",
            "//images.example.org/",
            "images.example.org",
            "",
        ] {
            assert!(plain.url(bad).is_err(), "{bad}");
        }
        let hosts = filter(|rules| {
            rules.allowed_hosts = vec!["Good.example.".to_owned()];
            rules.disallowed_hosts = vec!["good.example".to_owned()];
            rules.disallowed_schemes = vec!["http".to_owned()];
        });
        assert!(hosts.url("http://GOOD.example./").is_ok());
        assert!(hosts.url("http://other.example/").is_err());
        let denied = filter(|rules| {
            rules.allowed_schemes.clear();
            rules.disallowed_schemes = vec!["http".to_owned()];
            rules.disallowed_hosts = vec!["bad.example".to_owned(), "192.0.2.1".to_owned()];
            rules.allowed_ports.clear();
            rules.disallowed_ports = vec![80];
        });
        assert!(denied.url("http://good.example/").is_err());
        assert!(denied.url("https://bad.example./").is_err());
        assert!(denied.url("https://good.example:80/").is_err());
        assert!(denied.url("https://good.example:8080/").is_ok());
        assert!(denied.url("https://[::ffff:192.0.2.1]/").is_err());
        let by_address: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(denied.addresses("alias.example", &[by_address]).is_err());
    }

    #[test]
    fn this_machine_and_its_link_are_refused_however_they_are_spelled() {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "127.0.0.1.",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0X7F.0.0.1",
            "017700000001",
            "0177.0.0.1",
            "127.1",
            "127.0.1",
            "0",
            "0.0.0.0",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "①②⑦.0.0.1",
            "127。0。0。1",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[0:0:0:0:0:ffff:a9fe:a9fe]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fe80::1%25eth0]",
            "[ff02::1]",
            "224.0.0.1",
            "255.255.255.255",
            "user@127.0.0.1",
            "good.example@127.0.0.1",
            "127.0.0.1\\@good.example",
            "127.0.0.1\t",
            "good.example@evil@127.0.0.1",
        ] {
            for url in [format!("http://{host}/"), format!("http://{host}:8080/x")] {
                assert!(any_port().url(&url).is_err(), "{url}");
            }
        }
        // Public addresses in such forms are refused as well.
        for host in [
            "3221225991",
            "0xc0000207",
            "192.0.519",
            "0300.0.2.7",
            "192.0.2.7.",
        ] {
            assert!(
                any_port().url(&format!("http://{host}/")).is_err(),
                "{host}"
            );
        }
    }

    #[test]
    fn a_host_that_is_allowed_by_name_may_be_near() {
        let filter = filter(|rules| {
            rules.allowed_hosts = ["127.0.0.1", "localhost", "::1"]
                .map(str::to_owned)
                .to_vec();
            rules.allowed_ports.clear();
        });
        assert!(filter.url("http://127.0.0.1:8080/x").is_ok());
        assert!(filter.url("http://[::1]:8080/x").is_ok());
        assert!(filter.url("http://2130706433:8080/x").is_err());
        let near = ["127.0.0.1".parse().unwrap()];
        assert_eq!(filter.addresses("localhost", &near), Ok(near.to_vec()));
        assert!(filter.addresses("other.example", &near).is_err());
        assert!(filter.addresses("localhost", &[]).is_err());
    }

    #[test]
    fn of_a_name_only_the_far_addresses_are_left() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let far = parse("192.0.2.1");
        let mixed = [parse("127.0.0.1"), far, parse("::1"), parse("169.254.1.1")];
        assert_eq!(any_port().addresses("x.example", &mixed), Ok(vec![far]));
        assert!(any_port().addresses("x.example", &mixed[2..]).is_err());
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_near_address_passes(
            near in prop_oneof![
                any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(127, b, c, d)),
                any::<[u8; 2]>().prop_map(|[c, d]| Ipv4Addr::new(169, 254, c, d)),
                any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(0, b, c, d)),
            ],
            form in 0usize..9,
            tail in "(:[0-9]{1,5})?(/[a-z@:.]{0,8})?",
        ) {
            let [a, b, c, d] = near.octets();
            let number = u32::from(near);
            let host = match form {
                0 => near.to_string(),
                1 => number.to_string(),
                2 => format!("{number:#x}"),
                3 => format!("0{number:o}"),
                4 => format!("{a:#x}.{b}.0{c:o}.{d:#04x}"),
                5 => format!("{a}.{}", number & 0xff_ffff),
                6 => format!("[::ffff:{near}]"),
                7 => format!("[64:ff9b::{near}]"),
                _ => format!("user:pw@{near}"),
            };
            let url = format!("http://{host}{tail}");
            prop_assert!(any_port().url(&url).is_err(), "{}", url);
        }

        #[test]
        fn whatever_passes_names_a_host_that_is_not_near(text in "https?://\\PC{0,40}") {
            if let Ok(url) = any_port().url(&text) {
                let host = Host::of(&url).unwrap();
                prop_assert!(host.address().is_none_or(|address| !is_near(address)), "{}", url);
            }
        }
    }
}
