//! Who may call: API keys, decided before a request's body is read (CLIENTS section 3.2).
//!
//! Knows no transport: REST and gRPC hand in the text they were given. It does not know roles per collection (JWT);
//! those come with the security issue.

use subtle::{Choice, ConstantTimeEq};

/// The keys this server accepts; with none, everyone may do everything.
#[derive(Clone, Default)]
pub struct Keys {
    full: Option<String>,
    full_alternative: Option<String>,
    read_only: Option<String>,
}

/// What a route or method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Answers without a key: banner, health, static pages.
    Open,
    /// Changes nothing.
    Read,
    /// Changes points, collections or settings.
    Write,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A key is needed.
    #[error("no key was presented")]
    KeyMissing,
    /// What was presented is no key of this server.
    #[error("the key is none of ours")]
    KeyUnknown,
    /// The read-only key on a route that writes.
    #[error("the key may only read")]
    ReadOnly,
}

impl Keys {
    /// Empty texts count as not set.
    pub fn new(full: Option<String>, full_alternative: Option<String>, read_only: Option<String>) -> Keys {
        let set = |key: Option<String>| key.filter(|text| !text.is_empty());
        Keys { full: set(full), full_alternative: set(full_alternative), read_only: set(read_only) }
    }

    /// Whether calls need a key.
    pub fn is_required(&self) -> bool {
        self.full.is_some() || self.full_alternative.is_some() || self.read_only.is_some()
    }
}

/// Decides a call. `presented` comes from [`presented_key`].
pub fn check(keys: &Keys, presented: Option<&str>, access: Access) -> Result<(), Denied> {
    if access == Access::Open || !keys.is_required() {
        return Ok(());
    }
    let presented = presented.ok_or(Denied::KeyMissing)?;
    // Every key is compared, in full, so that the time taken tells nothing about which one came close.
    let is_full = equals(&keys.full, presented) | equals(&keys.full_alternative, presented);
    let is_read_only = equals(&keys.read_only, presented);
    match (bool::from(is_full), bool::from(is_read_only), access) {
        (true, _, _) | (false, true, Access::Read | Access::Open) => Ok(()),
        (false, true, Access::Write) => Err(Denied::ReadOnly),
        (false, false, _) => Err(Denied::KeyUnknown),
    }
}

/// The key of a call: its `api-key` header or metadata, else the token of `authorization: Bearer TOKEN`.
pub fn presented_key<'a>(api_key: Option<&'a str>, authorization: Option<&'a str>) -> Option<&'a str> {
    api_key.or_else(|| {
        let (scheme, token) = authorization?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
    })
}

fn equals(key: &Option<String>, presented: &str) -> Choice {
    match key {
        Some(key) => key.as_bytes().ct_eq(presented.as_bytes()),
        None => Choice::from(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(Some("full".into()), Some("other".into()), Some("ro".into()))
    }

    #[test]
    fn without_keys_everyone_may_do_everything() {
        let none = Keys::new(None, Some(String::new()), None);
        assert!(!none.is_required());
        assert_eq!(check(&none, None, Access::Write), Ok(()));
        assert_eq!(check(&none, Some("anything"), Access::Write), Ok(()));
    }

    #[test]
    fn clients_3_2_each_key_opens_what_it_should() {
        let cases = [
            (None, Access::Open, Ok(())),
            (None, Access::Read, Err(Denied::KeyMissing)),
            (None, Access::Write, Err(Denied::KeyMissing)),
            (Some("full"), Access::Write, Ok(())),
            (Some("other"), Access::Write, Ok(())),
            (Some("ro"), Access::Read, Ok(())),
            (Some("ro"), Access::Write, Err(Denied::ReadOnly)),
            (Some("wrong"), Access::Open, Ok(())),
            (Some("wrong"), Access::Read, Err(Denied::KeyUnknown)),
            (Some("ful"), Access::Read, Err(Denied::KeyUnknown)),
            (Some("full "), Access::Write, Err(Denied::KeyUnknown)),
            (Some(""), Access::Read, Err(Denied::KeyUnknown)),
        ];
        for (presented, access, want) in cases {
            assert_eq!(check(&keys(), presented, access), want, "{presented:?} {access:?}");
        }
    }

    #[test]
    fn a_read_only_key_alone_still_guards() {
        let keys = Keys::new(None, None, Some("ro".into()));
        assert_eq!(check(&keys, None, Access::Read), Err(Denied::KeyMissing));
        assert_eq!(check(&keys, Some("ro"), Access::Write), Err(Denied::ReadOnly));
        assert_eq!(check(&keys, Some(""), Access::Write), Err(Denied::KeyUnknown));
    }

    #[test]
    fn the_key_comes_from_either_header() {
        assert_eq!(presented_key(Some("a"), Some("Bearer b")), Some("a"));
        assert_eq!(presented_key(None, Some("bearer  b c")), Some("b c"));
        assert_eq!(presented_key(None, Some("Basic b")), None);
        assert_eq!(presented_key(None, Some("Bearer")), None);
        assert_eq!(presented_key(None, None), None);
    }
}
