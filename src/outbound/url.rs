//! A URL that somebody else chose, read strictly: what two readers could take for two hosts is refused. Pure.

use http::uri::PathAndQuery;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL, in bytes.
const LENGTH_MAX: usize = 2_048;

/// A URL of the schemes https and http.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl {
    /// Whether the scheme is https.
    pub secure: bool,
    /// Whom to call.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: u16,
    /// What to ask for.
    pub path: PathAndQuery,
}

/// Who is meant by a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name to look up, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl WebUrl {
    /// Reads `https://host[:port][/path][?query]`, ASCII alone: no user, no fragment, no blanks, no other spelling of an
    /// address than the usual one.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > LENGTH_MAX {
            return Err("may have at most 2048 bytes");
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
            return Err("must be plain ASCII: write other characters of a host in punycode, of a path percent-encoded");
        }
        let (secure, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) | None => return Err("must begin with https://"),
        };
        if rest.contains('#') {
            return Err("must not have a fragment");
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("must not have a user or password");
        }
        let (host, port) = split(authority)?;
        let port = match port {
            Some(digits) => read_port(digits)?,
            None => {
                if secure {
                    443
                } else {
                    80
                }
            }
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let path = PathAndQuery::try_from(path).map_err(|_| "has a path that is not well formed")?;
        Ok(Self { secure, host, port, path })
    }

    /// What the header `Host` says.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

fn split(authority: &str) -> Result<(Host, Option<&str>), &'static str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or("has an IPv6 address without its closing bracket")?;
        let address: Ipv6Addr = inside.parse().map_err(|_| "has an IPv6 address that is not well formed")?;
        let port =
            if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or("has a host that is not well formed")?) };
        return Ok((Host::Address(address.into()), port));
    }
    let (name, port) = authority.split_once(':').map_or((authority, None), |(name, port)| (name, Some(port)));
    Ok((read_name(name)?, port))
}

fn read_port(digits: &str) -> Result<u16, &'static str> {
    let port: u16 = digits.parse().map_err(|_| "has a port that is not 1 to 65535")?;
    if port > 0 && port.to_string() == digits { Ok(port) } else { Err("has a port that is not 1 to 65535") }
}

fn read_name(name: &str) -> Result<Host, &'static str> {
    let name = name.to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err("has a host that is not well formed");
    }
    // Resolvers take `127.1`, `0177.0.0.1`, `0x7f000001` and `2130706433` for addresses; a name never ends like that.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        let address: Ipv4Addr = name.parse().map_err(|_| "has an IPv4 address that is not four plain decimal numbers")?;
        return Ok(Host::Address(address.into()));
    }
    Ok(Host::Name(name))
}
