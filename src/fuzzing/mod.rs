//! What must hold for any bytes: the properties that `fuzz/` looks for counterexamples to.
//!
//! Each property takes bytes and panics when something is wrong. libFuzzer calls them with what it makes up; the tests
//! below call them with the seeds in `fuzz/seeds/`, past findings among them, so that every ordinary test run replays
//! those. Compiled for tests and for fuzzing only: nothing here is in the server.
//!
//! Where there are two ways to an answer, they are compared; "does not panic" is the least of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod filters;
mod formulas;
mod instants;
mod paths;
mod places;
mod stored;
mod texts;
mod wire;

pub use filters::filters;
pub use formulas::formulas;
pub use instants::instants;
pub use paths::paths;
pub use places::places;
pub use stored::stored;
pub use texts::texts;
pub use wire::{grpc, rest};

use serde_json::{Map, Value};

use crate::model::Payload;

/// Between the parts of an input that is text: the record separator of RFC 7464, which no JSON text contains.
const SEPARATOR: u8 = 0x1E;

/// The `N` texts of an input; missing ones are empty. `None`: not UTF-8.
fn split<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let mut parts = data.splitn(N, |byte| *byte == SEPARATOR);
    let mut texts = [""; N];
    for text in &mut texts {
        *text = std::str::from_utf8(parts.next().unwrap_or_default()).ok()?;
    }
    Some(texts)
}

/// A payload, from the text of a JSON object.
fn payload(text: &str) -> Option<Payload> {
    serde_json::from_str::<Map<String, Value>>(text).ok().map(Payload)
}

/// Some payloads, from the text of one or of a list of them.
fn payloads(text: &str) -> Option<Vec<Payload>> {
    /// What is looked for between them needs few.
    const COUNT_MAX: usize = 8;
    let objects = match serde_json::from_str(text).ok()? {
        Value::Object(object) => vec![object],
        Value::Array(list) => list.into_iter().filter_map(|one| one.as_object().cloned()).collect(),
        _ => return None,
    };
    Some(objects.into_iter().take(COUNT_MAX).map(Payload).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Every target with its property.
    const TARGETS: [(&str, fn(&[u8])); 9] = [
        ("paths", super::paths),
        ("filters", super::filters),
        ("formulas", super::formulas),
        ("instants", super::instants),
        ("places", super::places),
        ("texts", super::texts),
        ("rest", super::rest),
        ("grpc", super::grpc),
        ("stored", super::stored),
    ];

    fn files(folder: &Path) -> Vec<std::path::PathBuf> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn seeds_and_past_findings() {
        for (name, property) in TARGETS {
            let seeds = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name));
            assert!(!seeds.is_empty(), "{name} has no seeds");
            for seed in seeds {
                // A failure names the file, whatever its panic says.
                let bytes = fs::read(&seed).unwrap();
                let outcome = std::panic::catch_unwind(|| property(&bytes));
                assert!(outcome.is_ok(), "{name} does not hold for {}", seed.display());
            }
        }
    }

    /// Cut short, and with one byte changed: cheap neighbours that no seed file is needed for.
    #[test]
    fn neighbours_of_seeds() {
        for (name, property) in TARGETS {
            for seed in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name)) {
                let bytes = fs::read(&seed).unwrap();
                for at in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                    property(&bytes[..at]);
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << (at % 8);
                    property(&changed);
                }
            }
        }
    }

    #[test]
    fn every_target_is_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let mut listed: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.sort();
        let stems = |folder: &str| -> Vec<String> {
            files(&root.join(folder)).iter().map(|file| file.file_stem().unwrap().to_string_lossy().into()).collect()
        };
        assert_eq!(stems("targets"), listed);
        assert_eq!(stems("seeds"), listed);
    }
}
