//! Snapshots from elsewhere: which addresses are asked, and how.
//!
//! A caller who may recover a snapshot names a URL, and the server asks it: so the rules are strict, or the server would
//! lend its place in the network to whoever calls it.
//!
//! - Nothing is asked unless it is switched on, and then only hosts of the list.
//! - The name is resolved once; the address that was checked is the one that is connected to.
//! - Addresses that are not public (this machine, private networks, metadata services, and what may stand for them) are
//!   refused unless the list names them as an address or a network. A listed name alone is not enough: who runs its
//!   DNS does not run this network.
//! - No redirect is followed, no proxy used; size and time are limited.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};

use super::store::{Part, SnapshotStore};
use crate::service::Error;

/// A host that does not answer is given up after this.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// And one that stops sending.
const READ_MAX: Duration = Duration::from_secs(60);

/// What may be recovered from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRules {
    /// Whom to ask.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Of one snapshot.
    pub size_bytes_max: u64,
    /// For one snapshot to arrive.
    pub time_max: Duration,
}

/// A host or a network that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHost {
    /// This name, lowercase.
    Name(String),
    /// Every name below this one: `*.example.com`.
    Below(String),
    /// Addresses that begin with these bits.
    Network(IpAddr, u8),
}

/// The text is neither a host's name, nor `*.` and one, nor an address, nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host name, no *.domain, no address and no network such as 10.1.0.0/16")]
pub struct AllowedHostError(String);

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || AllowedHostError(text.to_owned());
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(AllowedHost::Network(address, bits(address)));
        }
        if let Some((address, length)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let length: u8 = length.parse().map_err(|_| wrong())?;
            return if length <= bits(address) { Ok(AllowedHost::Network(address, length)) } else { Err(wrong()) };
        }
        let (is_below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let is_label = |label: &str| {
            let is_plain = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            is_plain && !label.is_empty() && label.len() <= 63
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(wrong());
        }
        let name = name.to_ascii_lowercase();
        Ok(if is_below { AllowedHost::Below(name) } else { AllowedHost::Name(name) })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllowedHost::Name(name) => f.write_str(name),
            AllowedHost::Below(name) => write!(f, "*.{name}"),
            AllowedHost::Network(address, length) => write!(f, "{address}/{length}"),
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address as a number whose first bit is the highest.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

fn is_in(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let differs = number(address) ^ number(network);
    address.is_ipv4() == network.is_ipv4() && (length == 0 || differs >> (128 - u32::from(length)) == 0)
}

/// Networks that are not the public internet, or may lead out of it (IANA's registries of special purpose addresses).
const SPECIAL_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Azure's metadata and DNS.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Beside these, everything outside `2000::/3`: mapped and translated IPv4, loopback, unique local, link local, multicast.
const SPECIAL_V6: &[(Ipv6Addr, u8)] = &[
    // Teredo, ORCHID and others of the protocols' own.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4 carries an IPv4 address.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(network, length)| is_in(address, (*network).into(), *length)),
        IpAddr::V6(of) => {
            let is_global = of.segments()[0] & 0xe000 == 0x2000;
            is_global && !SPECIAL_V6.iter().any(|(network, length)| is_in(address, (*network).into(), *length))
        }
    }
}

impl UrlRules {
    fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allowed_hosts.iter().any(|allowed| match allowed {
            AllowedHost::Name(name) => host == *name,
            AllowedHost::Below(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            AllowedHost::Network(..) => false,
        })
    }

    fn has(&self, address: IpAddr) -> bool {
        self.allowed_hosts.iter().any(|allowed| match allowed {
            AllowedHost::Network(network, length) => is_in(address, *network, *length),
            _ => false,
        })
    }

    /// Whether a connection may be made to an address that a listed name leads to.
    fn may_connect(&self, address: IpAddr) -> bool {
        is_public(address) || self.has(address)
    }
}

/// A URL whose host may be asked, as far as can be said before its name is resolved.
pub(super) struct CheckedUrl {
    url: Url,
    api_key: Option<HeaderValue>,
}

impl fmt::Debug for CheckedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedUrl").field("url", &shown(&self.url)).finish_non_exhaustive()
    }
}

/// Without what may be secret: signed addresses carry their signature in the query.
fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or(""), url.path())
}

fn refused(why: impl fmt::Display) -> Error {
    Error::UrlRefused { why: why.to_string() }
}

impl CheckedUrl {
    pub(super) fn new(rules: Option<&UrlRules>, text: &str, api_key: Option<&str>) -> Result<CheckedUrl, Error> {
        let rules = rules.ok_or_else(|| refused("recovery from URLs is switched off"))?;
        let malformed = |why: &str| Error::SnapshotUrl { why: why.to_owned() };
        let url = Url::parse(text).map_err(|error| malformed(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(malformed("its scheme is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed("it carries a user's name or a password"));
        }
        let host = url.host_str().ok_or_else(|| malformed("it names no host"))?;
        let is_allowed = match address_of(host) {
            Some(address) => rules.has(address),
            None => rules.names(host),
        };
        if !is_allowed {
            return Err(refused(format_args!("host {host} is not among those snapshots are recovered from")));
        }
        let api_key = api_key.map(HeaderValue::from_str).transpose();
        let mut api_key = api_key.map_err(|_| malformed("its api_key is no header's value"))?;
        api_key.iter_mut().for_each(|key| key.set_sensitive(true));
        Ok(CheckedUrl { url, api_key })
    }

    /// Downloads into an unfinished file.
    pub(super) async fn fetch(self, store: &SnapshotStore) -> Result<Part, Error> {
        let rules = store.url_rules.as_ref().ok_or_else(|| refused("recovery from URLs is switched off"))?;
        let until = Instant::now() + rules.time_max;
        let too_slow = Error::Timeout { what: "the snapshot did not arrive in time" };
        tokio::time::timeout_at(until.into(), self.download(rules, store)).await.unwrap_or(Err(too_slow))
    }

    async fn download(self, rules: &UrlRules, store: &SnapshotStore) -> Result<Part, Error> {
        let shown = shown(&self.url);
        let failed = |why: String| Error::SnapshotDownload { url: shown.clone(), why };
        let response = self.ask(rules).await?;
        if response.status() != reqwest::StatusCode::OK {
            let status = response.status();
            let redirects = if status.is_redirection() { "; redirects are not followed" } else { "" };
            return Err(failed(format!("the answer was {status}{redirects}")));
        }
        let too_large = || failed(format!("it has more than {} bytes", rules.size_bytes_max));
        if response.content_length().is_some_and(|size| size > rules.size_bytes_max) {
            return Err(too_large());
        }
        let mut receiving = store.receive()?;
        let mut size = 0_u64;
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| failed(root_cause(&error)))?;
            size += chunk.len() as u64;
            if size > rules.size_bytes_max {
                return Err(too_large());
            }
            receiving.write(chunk.into()).await?;
        }
        receiving.finish().await
    }

    async fn ask(&self, rules: &UrlRules) -> Result<reqwest::Response, Error> {
        let shown = shown(&self.url);
        let failed = |why: String| Error::SnapshotDownload { url: shown.clone(), why };
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        let addresses: Vec<SocketAddr> = match address_of(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => {
                let found = tokio::net::lookup_host((host, port)).await;
                found.map_err(|error| failed(format!("the host's name leads nowhere: {error}")))?.collect()
            }
        };
        if let Some(bad) = addresses.iter().find(|address| !rules.may_connect(address.ip())) {
            let what = format_args!("host {host} leads to {}, which is not public and not listed", bad.ip());
            return Err(refused(what));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.api_key {
            headers.insert("api-key", key.clone());
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .resolve_to_addrs(host, &addresses)
            .connect_timeout(CONNECT_MAX)
            .read_timeout(READ_MAX)
            .default_headers(headers)
            .build()
            .map_err(|error| failed(root_cause(&error)))?;
        client.get(self.url.clone()).send().await.map_err(|error| failed(root_cause(&error)))
    }
}

/// An address in place of a name, with or without brackets.
fn address_of(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The innermost error: the outer ones repeat the whole URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str]) -> UrlRules {
        let allowed_hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        UrlRules { allowed_hosts, size_bytes_max: 1 << 20, time_max: Duration::from_secs(5) }
    }

    #[test]
    fn reliability_5_3_only_public_addresses_are_public() {
        for public in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn reliability_5_3_hosts_are_those_of_the_list() {
        let rules = rules(&["backups.example.com", "*.s3.example.net", "192.0.2.7", "10.1.0.0/16", "fd00::/8"]);
        let check = |url: &str| CheckedUrl::new(Some(&rules), url, None);
        for allowed in [
            "https://backups.example.com/a?b=c",
            "http://BACKUPS.example.com.:8080/a",
            "https://bucket.s3.example.net/",
            "http://192.0.2.7/",
            "http://3221225991/",
            "http://10.1.255.1:6333/",
            "http://[fd12::1]/",
        ] {
            assert!(check(allowed).is_ok(), "{allowed}");
        }
        for refused in [
            "https://example.com/",
            "https://evil-backups.example.com/",
            "https://backups.example.com.evil.org/",
            "https://s3.example.net/",
            "https://evils3.example.net/",
            "http://10.2.0.1/",
            "http://127.0.0.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:10.1.0.1]/",
            "http://localhost/",
        ] {
            assert!(matches!(check(refused), Err(Error::UrlRefused { .. })), "{refused}");
        }
        for malformed in ["http://", "http://user@backups.example.com/", "http://:p@10.1.0.1/", "http://a b/"] {
            assert!(matches!(check(malformed), Err(Error::SnapshotUrl { .. })), "{malformed}");
        }
        let off = CheckedUrl::new(None, "https://backups.example.com/", None);
        assert!(matches!(off, Err(Error::UrlRefused { .. })));
        let key = CheckedUrl::new(Some(&rules), "http://10.1.0.1/", Some("a\nb"));
        assert!(matches!(key, Err(Error::SnapshotUrl { .. })));
    }

    #[test]
    fn reliability_5_3_a_listed_name_does_not_open_the_network() {
        let named = rules(&["backups.example.com"]);
        assert!(named.may_connect("93.184.216.34".parse().unwrap()));
        assert!(!named.may_connect("10.1.0.1".parse().unwrap()));
        assert!(!named.may_connect("169.254.169.254".parse().unwrap()));
        let both = rules(&["backups.example.com", "10.1.0.0/16"]);
        assert!(both.may_connect("10.1.0.1".parse().unwrap()));
        assert!(!both.may_connect("::ffff:10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn what_a_list_may_hold() {
        for text in ["a", "a.b-c.example", "*.example.com", "10.0.0.0/8", "::1/128", "fe80::/10", "0.0.0.0/0"] {
            assert_eq!(text.parse::<AllowedHost>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1".parse::<AllowedHost>().unwrap().to_string(), "127.0.0.1/32");
        for text in ["", "*", "*.", "http://a", "a:80", "10.0.0.0/33", "::/129", "10.0.0/8", "a/b", "a..b", ".a", "a b"]
        {
            assert!(text.parse::<AllowedHost>().is_err(), "{text}");
        }
    }
}
