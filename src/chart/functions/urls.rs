//! URLs by the rules of Go's `net/url`, which keeps what it reads and normalizes nothing.

use std::fmt::Write as _;

use super::{Function, Outcome, Runtime, dictionary, text};
use crate::chart::error::Failure;
use crate::chart::format;
use crate::chart::value::{MapCell, Value};

pub(super) const FUNCTIONS: &[Function] =
    &[Function::exactly("urlParse", 1, url_parse), Function::exactly("urlJoin", 1, url_join)];

/// The parts of a URL, decoded but for the query.
#[derive(Default)]
struct Url {
    scheme: String,
    opaque: String,
    /// User and password.
    user: Option<(String, Option<String>)>,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

/// Where in a URL a text stands: each place lets other characters be as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    User,
    Host,
    /// The zone of an address such as `fe80::1%25eth0`.
    Zone,
    Fragment,
}

fn url_parse(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let url = text(values, 0)?;
    let parsed = Url::parse(url).map_err(|reason| {
        Failure::new(format!("unable to parse url: parse {}: {reason}", format::quote(url.as_bytes())))
    })?;
    let user = parsed.user_info();
    Ok(Value::map([
        ("hostname", Value::from(parsed.hostname())),
        ("scheme", Value::from(parsed.scheme)),
        ("host", Value::from(parsed.host)),
        ("path", Value::from(parsed.path)),
        ("query", Value::from(parsed.query)),
        ("opaque", Value::from(parsed.opaque)),
        ("fragment", Value::from(parsed.fragment)),
        ("userinfo", Value::from(user)),
    ]))
}

fn url_join(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let parts = dictionary(values, 0)?;
    let mut url = Url {
        scheme: part(&parts, "scheme")?,
        host: part(&parts, "host")?,
        path: part(&parts, "path")?,
        query: part(&parts, "query")?,
        opaque: part(&parts, "opaque")?,
        fragment: part(&parts, "fragment")?,
        ..Url::default()
    };
    let user = part(&parts, "userinfo")?;
    if !user.is_empty() {
        let parsed = Url::parse(&format!("proto://{user}@host"))
            .map_err(|reason| Failure::new(format!("unable to parse userinfo in dict: {reason}")))?;
        url.user = parsed.user;
    }
    Ok(Value::from(url.to_string()))
}

fn part(parts: &MapCell, key: &str) -> Result<String, Failure> {
    match parts.get(key) {
        None => Ok(String::new()),
        Some(value) => value.as_str().map(ToOwned::to_owned).ok_or_else(|| {
            let kind = value.kind_name();
            Failure::new(format!("unable to parse {key} key, must be of type string, but {kind} found"))
        }),
    }
}

impl Url {
    fn parse(url: &str) -> Result<Self, String> {
        let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
        let mut parsed = Self::parse_without_fragment(rest)?;
        parsed.fragment = decoded(fragment, Place::Fragment)?;
        Ok(parsed)
    }

    fn parse_without_fragment(url: &str) -> Result<Self, String> {
        if url.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if url == "*" {
            return Ok(Self { path: "*".to_owned(), ..Self::default() });
        }
        let (scheme, rest) = scheme(url)?;
        let mut parsed = Self { scheme: scheme.to_ascii_lowercase(), ..Self::default() };
        let (mut rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        query.clone_into(&mut parsed.query);
        if !rest.starts_with('/') {
            if !parsed.scheme.is_empty() {
                rest.clone_into(&mut parsed.opaque);
                return Ok(parsed);
            }
            // `a:b` could be a scheme.
            if rest.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        if (!parsed.scheme.is_empty() || !rest.starts_with("///"))
            && let Some(after) = rest.strip_prefix("//")
        {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            parsed.authority(authority)?;
            rest = path;
        }
        parsed.path = decoded(rest, Place::Path)?;
        Ok(parsed)
    }

    fn authority(&mut self, authority: &str) -> Result<(), String> {
        let Some((user, host)) = authority.rsplit_once('@') else {
            self.host = host(authority)?;
            return Ok(());
        };
        self.host = self::host(host)?;
        let is_valid = |next: char| next.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(next);
        if !user.chars().all(is_valid) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        self.user = Some(match user.split_once(':') {
            None => (decoded(user, Place::User)?, None),
            Some((name, password)) => (decoded(name, Place::User)?, Some(decoded(password, Place::User)?)),
        });
        Ok(())
    }

    /// The host without its port and brackets.
    fn hostname(&self) -> String {
        let host = match self.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.host,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        bare.unwrap_or(host).to_owned()
    }

    fn user_info(&self) -> String {
        match &self.user {
            None => String::new(),
            Some((name, None)) => encoded(name, Place::User),
            Some((name, Some(password))) => {
                format!("{}:{}", encoded(name, Place::User), encoded(password, Place::User))
            }
        }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has_scheme = !self.scheme.is_empty();
        if has_scheme {
            write!(f, "{}:", self.scheme)?;
        }
        if self.opaque.is_empty() {
            let has_host = !self.host.is_empty() || self.user.is_some();
            if has_host || (has_scheme && !self.path.is_empty()) {
                f.write_str("//")?;
            }
            if self.user.is_some() {
                write!(f, "{}@", self.user_info())?;
            }
            f.write_str(&encoded(&self.host, Place::Host))?;
            let path = if self.path == "*" { "*".to_owned() } else { encoded(&self.path, Place::Path) };
            if !path.is_empty() && !path.starts_with('/') && !self.host.is_empty() {
                f.write_str("/")?;
            }
            // Else a relative path would be read as one with a scheme.
            if !has_scheme && !has_host && path.split('/').next().is_some_and(|first| first.contains(':')) {
                f.write_str("./")?;
            }
            f.write_str(&path)?;
        } else {
            f.write_str(&self.opaque)?;
        }
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        if !self.fragment.is_empty() {
            write!(f, "#{}", encoded(&self.fragment, Place::Fragment))?;
        }
        Ok(())
    }
}

/// Cuts the scheme off, if there is one.
fn scheme(url: &str) -> Result<(&str, &str), String> {
    for (at, next) in url.bytes().enumerate() {
        match next {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&url[..at], &url[at + 1..])),
            _ => return Ok(("", url)),
        }
    }
    Ok(("", url))
}

fn host(host: &str) -> Result<String, String> {
    if let Some(open) = host.strip_prefix('[') {
        let Some(close) = open.rfind(']') else { return Err("missing ']' in host".to_owned()) };
        let (address, port) = open.split_at(close);
        check_port(&port[1..])?;
        return match address.find("%25") {
            Some(zone) => {
                let zone_text = decoded(&address[zone..], Place::Zone)?;
                Ok(format!("[{}{zone_text}{port}", decoded(&address[..zone], Place::Host)?))
            }
            None => decoded(host, Place::Host),
        };
    }
    if let Some(at) = host.rfind(':') {
        check_port(&host[at..])?;
    }
    decoded(host, Place::Host)
}

fn check_port(port: &str) -> Result<(), String> {
    let is_valid = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
    };
    if is_valid { Ok(()) } else { Err(format!("invalid port {} after host", format::quote(port.as_bytes()))) }
}

fn stays(byte: u8, place: Place) -> bool {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => true,
        b'!' | b'\'' | b'(' | b')' | b'*' if matches!(place, Place::Host | Place::Zone | Place::Fragment) => {
            true
        }
        b'[' | b']' | b'<' | b'>' | b'"' if matches!(place, Place::Host | Place::Zone) => true,
        b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?' | b'@' => match place {
            Place::Path => byte != b'?',
            Place::User => !matches!(byte, b'@' | b'/' | b'?' | b':'),
            Place::Fragment => true,
            Place::Host | Place::Zone => !matches!(byte, b'/' | b'?' | b'@'),
        },
        _ => false,
    }
}

fn encoded(text: &str, place: Place) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut output, byte| {
        if stays(byte, place) {
            output.push(char::from(byte));
        } else {
            _ = write!(output, "%{byte:02X}");
        }
        output
    })
}

fn decoded(text: &str, place: Place) -> Result<String, String> {
    let mut output = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            if matches!(place, Place::Host | Place::Zone) && byte.is_ascii() && !stays(byte, place) {
                let character = char::from(byte).to_string();
                return Err(format!(
                    "invalid character {} in host name",
                    format::quote(character.as_bytes())
                ));
            }
            output.push(byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(code) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            let shown = &rest[..rest.len().min(3)];
            return Err(format!("invalid URL escape {}", format::quote(shown)));
        };
        // A host has characters of other scripts escaped, and a percent sign before its zone.
        if place == Place::Host && code < 0x80 && code != b'%' {
            return Err(format!("invalid URL escape {}", format::quote(&rest[..3])));
        }
        output.push(code);
        rest = &after[2..];
    }
    Ok(crate::chart::binary::characters(&output))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        assert_prints(
            &json!({}),
            &[
                ("(urlParse \"http://u:p%40@ex.com:80/a%20b?x=1#f\").userinfo", "u:p%40"),
                ("(urlParse \"http://[::1]:80/a%20b\").hostname", "::1"),
                ("(urlParse \"http://h/a%20b\").path", "/a b"),
                ("(urlParse \"mailto:a@b\").opaque", "a@b"),
                ("(urlParse \"/p?q\").query", "q"),
                ("urlJoin (urlParse \"https://u:p@h:1/a b?x=1#f g\")", "https://u:p@h:1/a%20b?x=1#f%20g"),
                ("urlJoin (dict \"host\" \"h\" \"path\" \"p\")", "//h/p"),
            ],
        );
        assert_refused(
            &json!({}),
            &[
                ("urlParse \"http://a b\"", "invalid character \" \" in host name"),
                ("urlParse \"http://h:x\"", "invalid port"),
                ("urlParse \":x\"", "missing protocol scheme"),
                ("urlJoin (dict \"host\" 1)", "must be of type string, but int found"),
            ],
        );
    }
}
