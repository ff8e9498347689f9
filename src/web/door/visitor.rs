//! Who asks. What headers say of that counts only when a proxy that is trusted wrote them, and is taken out otherwise, so
//! that nothing behind the door can be fooled by it.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

/// What proxies write.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const OTHERS: [&str; 4] = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip"];

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// The client's address: of the connection, or, behind proxies that are trusted, the right-most one that is not.
    pub address: IpAddr,
    /// Who a trusted proxy says it is.
    pub user: Option<String>,
}

impl Visitor {
    /// Finds out who asks, and takes out of the headers what counts for nothing.
    pub(super) fn of(
        peer: IpAddr,
        trusted: bool,
        trusts: impl Fn(IpAddr) -> bool,
        login: Option<&HeaderName>,
        headers: &mut HeaderMap,
    ) -> Self {
        let peer = peer.to_canonical();
        if trusted {
            let user = login.and_then(|name| user(headers, name));
            return Self { address: client(peer, trusts, headers), user };
        }
        for name in [header::FORWARDED, FORWARDED_FOR].iter().chain(login) {
            headers.remove(name);
        }
        for name in OTHERS {
            headers.remove(name);
        }
        Self { address: peer, user: None }
    }
}

/// Reads the one user that a proxy names; two of them are none.
fn user(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Finds the right-most address that is no proxy of ours. A proxy writes one of the two headers and may pass the other on as
/// the client sent it: when they differ, neither counts.
fn client(peer: IpAddr, trusts: impl Fn(IpAddr) -> bool, headers: &HeaderMap) -> IpAddr {
    let lines = |name: &HeaderName| {
        let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        values.collect::<Vec<_>>().join(",")
    };
    let walk = |hops: Vec<Option<IpAddr>>| {
        let mut address = peer;
        for hop in hops.into_iter().rev() {
            // What can't be understood hides all that lies behind it.
            let Some(hop) = hop else { break };
            address = hop;
            if !trusts(hop) {
                break;
            }
        }
        address
    };
    let standard =
        headers.contains_key(header::FORWARDED).then(|| walk(forwarded(&lines(&header::FORWARDED))));
    let usual = headers.contains_key(FORWARDED_FOR).then(|| {
        let hops = lines(&FORWARDED_FOR);
        walk(hops.split(',').map(address).collect())
    });
    match (standard, usual) {
        (Some(one), Some(other)) if one != other => peer,
        (one, other) => one.or(other).unwrap_or(peer),
    }
}

/// Reads the addresses of a `Forwarded` header (RFC 7239), one for each hop.
fn forwarded(value: &str) -> Vec<Option<IpAddr>> {
    let hop = |element: &str| {
        split(element, ';').into_iter().find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| address(value.trim().trim_matches('"')))?
        })
    };
    split(value, ',').into_iter().map(hop).collect()
}

/// Splits outside of quotes.
fn split(text: &str, by: char) -> Vec<&str> {
    let mut quoted = false;
    let inside = |c: char| {
        quoted ^= c == '"';
        c == by && !quoted
    };
    text.split(inside).collect()
}

/// Reads an address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let alone = bare.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|it| it.ip());
    alone.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, pairs: &[(&str, &str)]) -> (String, Option<String>, usize) {
        let trusts = |address: IpAddr| address.to_string().starts_with("10.");
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let peer: IpAddr = peer.parse().unwrap();
        let login = HeaderName::from_static("x-forwarded-user");
        let visitor = Visitor::of(peer, trusts(peer), trusts, Some(&login), &mut headers);
        (visitor.address.to_string(), visitor.user, headers.len())
    }

    fn address_of(peer: &str, pairs: &[(&str, &str)]) -> String {
        seen(peer, pairs).0
    }

    #[test]
    fn what_a_stranger_says_of_himself_counts_for_nothing_and_goes_no_further() {
        let said = [
            ("x-forwarded-for", "10.0.0.9"),
            ("forwarded", "for=10.0.0.9"),
            ("x-forwarded-user", "admin"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-real-ip", "1.2.3.4"),
            ("accept", "*/*"),
        ];
        assert_eq!(seen("192.0.2.1", &said), ("192.0.2.1".to_owned(), None, 1));
        assert_eq!(seen("10.0.0.1", &said).1.as_deref(), Some("admin"), "a proxy that is trusted may say so");
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_proxy_of_ours() {
        let usual = |value| address_of("10.0.0.1", &[("x-forwarded-for", value)]);
        assert_eq!(usual("6.6.6.6, 192.0.2.7, 10.0.0.2"), "192.0.2.7");
        assert_eq!(usual("192.0.2.7:4711"), "192.0.2.7");
        assert_eq!(usual("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(usual("10.0.0.3, 10.0.0.2"), "10.0.0.3", "a client of our own network");
        assert_eq!(usual("192.0.2.7, nonsense, 10.0.0.2"), "10.0.0.2", "nonsense hides what lies behind it");
        assert_eq!(usual(""), "10.0.0.1");
        let two = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(address_of("10.0.0.1", &two), "192.0.2.7");
        assert_eq!(address_of("::ffff:10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_is_read_too_and_two_that_differ_count_for_nothing() {
        let standard = |value| address_of("10.0.0.1", &[("forwarded", value)]);
        assert_eq!(
            standard("for=6.6.6.6, for=\"[2001:db8::7]:4711\";proto=https;by=10.0.0.1"),
            "2001:db8::7"
        );
        assert_eq!(standard("For=192.0.2.7"), "192.0.2.7");
        assert_eq!(standard("host=\"a,b;for=6.6.6.6\";for=192.0.2.7"), "192.0.2.7");
        assert_eq!(standard("for=unknown"), "10.0.0.1");
        let both =
            |standard, usual| address_of("10.0.0.1", &[("forwarded", standard), ("x-forwarded-for", usual)]);
        assert_eq!(both("for=192.0.2.7", "192.0.2.7"), "192.0.2.7");
        assert_eq!(both("for=6.6.6.6", "192.0.2.7"), "10.0.0.1");
    }

    #[test]
    fn a_user_is_one_user() {
        let user = |pairs: &[(&str, &str)]| seen("10.0.0.1", pairs).1;
        assert_eq!(user(&[("x-forwarded-user", " ada ")]).as_deref(), Some("ada"));
        assert_eq!(user(&[("x-forwarded-user", " ")]), None);
        assert_eq!(user(&[("x-forwarded-user", "ada"), ("x-forwarded-user", "eve")]), None);
    }
}
