//! Executes the rules of ARCHITECTURE.md that a compiler does not know: which room may use which room and which crate,
//! what the rooms below Raft must not do, and what no file may contain.
//!
//! It reads text, not syntax: comments and string literals are blanked first, tests at a file's end are left out. A new
//! crate, or a new room for one, is a line in [`CRATES`]: a design change, to be seen as such in review.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`; a room uses itself and the ones before it.
const ROOMS: [&str; 14] = [
    "model", "distance", "text", "index", "storage", "shard", "raft", "peer", "cluster", "service", "api", "server",
    "bench", "admin",
];

/// The rooms that are pure: same input, same output, on the caller's thread.
const SYNC_ROOMS: [&str; 6] = ["model", "distance", "text", "index", "storage", "shard"];

/// What pure rooms must not contain, and why.
const IMPURE: [(&str, &str); 10] = [
    ("async", "a pure room has no runtime"),
    ("Instant::now", "replicas must not depend on a clock; a deadline or a stop flag comes from the caller"),
    ("SystemTime", "replicas must not depend on a clock"),
    ("Timestamp::now", "replicas must not depend on a clock"),
    ("env::var", "settings come in as parameters"),
    ("thread::spawn", "threads are lent by whoever owns the room's objects"),
    ("thread::scope", "threads are lent by whoever owns the room's objects"),
    ("thread::Builder", "threads are lent by whoever owns the room's objects"),
    ("thread::sleep", "waiting belongs to the caller"),
    ("RandomState", "its seed is random; name a hasher with a fixed one"),
];

/// Every dependency and the rooms that may name it; `main` is main.rs.
const CRATES: &[(&str, &[&str])] = &[
    ("serde", &["model", "index", "shard", "raft", "cluster", "service", "api", "server", "bench", "admin"]),
    ("serde_json", &["model", "index", "shard", "service", "api", "bench", "admin"]),
    ("uuid", &["model", "index", "storage", "shard", "peer", "cluster", "service", "api", "server"]),
    ("jiff", &["model", "api"]),
    ("geo", &["model", "shard"]),
    ("siphasher", &["model"]),
    ("postcard", &["shard", "raft", "cluster", "service"]),
    ("crc32fast", &["index", "storage", "shard", "peer", "service"]),
    ("simsimd", &["distance"]),
    ("bytemuck", &["model", "distance", "index", "storage", "shard"]),
    ("libc", &["index", "storage", "server"]),
    ("parking_lot", &["index", "storage", "shard", "raft", "peer", "cluster", "service", "server"]),
    (
        "thiserror",
        &[
            "model", "text", "index", "storage", "shard", "raft", "peer", "cluster", "service", "api", "server",
            "bench", "admin",
        ],
    ),
    ("roaring", &["index", "shard"]),
    ("half", &["model", "index", "storage", "bench"]),
    ("memmap2", &["index"]),
    ("tempfile", &["index", "raft", "peer"]),
    ("rstar", &["index"]),
    ("fastrand", &["index", "service"]),
    ("rust_stemmers", &["text"]),
    ("snowball_stemmers_rs", &["text"]),
    ("stop_words", &["text"]),
    ("charabia", &["text"]),
    ("unicode_normalization", &["text"]),
    ("rocksdb", &["storage"]),
    ("openraft", &["raft"]),
    ("futures", &["raft", "peer", "cluster", "service", "api", "server", "bench"]),
    ("tokio", &["raft", "peer", "cluster", "service", "api", "server", "bench"]),
    ("arc_swap", &["shard", "cluster", "service", "server"]),
    ("sha2", &["service"]),
    ("tokio_util", &["service", "api"]),
    ("object_store", &["service"]),
    ("reqwest", &["service", "bench", "admin"]),
    ("rustls", &["service", "bench", "admin"]),
    ("axum", &["api", "server", "bench"]),
    ("hyper", &["api", "server"]),
    ("hyper_util", &["api", "server"]),
    ("tower", &["api", "server"]),
    ("tower_http", &["api"]),
    ("tonic", &["peer", "api", "server", "bench"]),
    ("tonic_prost", &["api"]),
    ("tonic_health", &["api"]),
    ("tonic_reflection", &["api"]),
    ("prost", &["api"]),
    ("prost_types", &["api"]),
    ("metrics", &["storage", "raft", "cluster", "service", "api", "server"]),
    ("metrics_exporter_prometheus", &["server"]),
    ("metrics_process", &["server"]),
    ("tracing", &["storage", "raft", "peer", "cluster", "service", "api", "server"]),
    ("tracing_subscriber", &["server"]),
    ("clap", &["server", "bench", "admin", "main"]),
    ("figment", &["server"]),
    ("subtle", &["peer", "api"]),
    ("schemars", &["api"]),
    ("indicatif", &["bench", "admin"]),
    ("hdf5_reader", &["bench"]),
];

/// Macros that mark unfinished work or leak to the terminal.
const LEFTOVERS: [&str; 5] = ["dbg!", "todo!", "unimplemented!", "println!", "eprintln!"];

/// Words that name nothing. As a part of a type's or a file's name they hide what the thing is for.
const EMPTY_WORDS: [&str; 11] =
    ["Manager", "Helper", "Util", "Utils", "Common", "Base", "Internal", "Impl", "Holder", "Container", "Wrapper"];

/// A source file.
struct Source {
    /// From the repository's root, with slashes.
    path: String,
    text: String,
    /// `text` with comments and literals blanked, line by line the same.
    code: String,
    /// `code` without the tests at its end.
    shipped: String,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Source {
        let text = fs::read_to_string(path).expect("a readable source file");
        let code = blanked(&text);
        let begin =
            ["mod ", "pub(super) mod ", "pub(crate) mod "].map(|module| code.find(&format!("#[cfg(test)]\n{module}")));
        let tests = begin.into_iter().flatten().min().unwrap_or(code.len());
        let path = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        // Compiled for tests and for `make fuzz` only.
        let is_fuzzing = path.ends_with("/fuzzing.rs") || path.contains("/fuzzing/");
        let is_test_file = path.ends_with("tests.rs") || path.contains("/tests/") || is_fuzzing;
        let shipped = if is_test_file { String::new() } else { code[..tests].to_string() };
        Source { path, text, code, shipped }
    }

    /// The room of a file in src/: a folder's name, or `main` or `lib`.
    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or("");
        inside.split('/').next().unwrap_or("").trim_end_matches(".rs")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` with this extension, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|have| have == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources(folder: &str) -> Vec<Source> {
    files(&root().join(folder), "rs").iter().map(|path| Source::read(&root(), path)).collect()
}

/// Fails with all complaints at once.
fn assert_none(complaints: &[String]) {
    let mut list = String::new();
    for complaint in complaints {
        let _ = writeln!(list, "  {complaint}");
    }
    assert!(complaints.is_empty(), "{} complaints:\n{list}", complaints.len());
}

/// Replaces comments and the insides of literals by spaces; keeps line breaks.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment_end(bytes, at);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8(out).expect("only whole literals and comments were blanked")
}

/// The end of the comment or literal that begins at `at`, or `at` when none does.
fn literal_or_comment_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after = |needle: &[u8], from: usize| {
        rest[from..]
            .windows(needle.len())
            .position(|window| window == needle)
            .map_or(bytes.len(), |found| at + from + found + needle.len())
    };
    let follows_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => after(b"\n", 2) - 1,
        [b'/', b'*', ..] => after(b"*/", 2),
        [b'r', b'"' | b'#', ..] if !follows_name || bytes[at - 1] == b'b' => {
            let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return at; // r#name
            }
            let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            after(&close, 2 + hashes)
        }
        [b'"', ..] => {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'"' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            (at + end + 1).min(bytes.len())
        }
        // A character, not a lifetime: 'x' or an escape.
        [b'\'', b'\\', ..] => after(b"'", 3),
        [b'\'', ..] => {
            let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .map_or_else(|error| std::str::from_utf8(&rest[1..1 + error.valid_up_to()]), Ok)
                .ok()
                .and_then(|text| text.chars().next())
                .map_or(0, char::len_utf8);
            if width > 0 && rest.get(1 + width) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

/// Whether `word` stands in `line` with no name character around it (`::` and `!` count as parts of a word).
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_name)
            && !line[at + word.len()..].chars().next().is_some_and(is_name)
    })
}

/// First names after `crate::` in `code`, with their line numbers: `crate::a::b` and `crate::{a, b::c}`.
fn rooms_used(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(['$', ':']) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let name = |text: &str| text.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().map(String::from);
        match rest.strip_prefix('{') {
            None => used.extend(name(rest).map(|name| (line, name))),
            Some(group) => {
                let (mut depth, mut start) = (0, 0);
                for (end, byte) in group.bytes().enumerate() {
                    match byte {
                        b'{' => depth += 1,
                        b'}' if depth > 0 => depth -= 1,
                        b',' | b'}' if depth == 0 => {
                            used.extend(
                                name(&group[start..end]).filter(|name| !name.is_empty()).map(|name| (line, name)),
                            );
                            start = end + 1;
                            if byte == b'}' {
                                break;
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    used
}

#[test]
fn a_room_uses_only_rooms_before_it() {
    let mut complaints = Vec::new();
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    for source in sources("src") {
        let Some(own) = place(source.room()) else { continue };
        for (line, used) in rooms_used(&source.shipped) {
            match place(&used) {
                Some(room) if room <= own => {}
                Some(_) => complaints.push(format!("{}:{line}: {} must not use {used}", source.path, source.room())),
                None => complaints.push(format!("{}:{line}: {used} is no room", source.path)),
            }
        }
    }
    assert_none(&complaints);
}

/// What it measures could otherwise depend on what it measures with.
#[test]
fn the_load_generator_knows_the_wires_messages_only() {
    let mut complaints = Vec::new();
    for source in sources("src").iter().filter(|source| source.room() == "bench") {
        for (number, line) in source.shipped.lines().enumerate() {
            let foreign = line.match_indices("crate::").map(|(at, _)| &line[at + "crate::".len()..]);
            for path in foreign.filter(|path| !path.starts_with("bench") && !path.starts_with("api::grpc::pb")) {
                complaints.push(format!("{}:{}: {path}", source.path, number + 1));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn every_file_of_src_belongs_to_a_room() {
    let listed: BTreeSet<&str> = ROOMS.into_iter().chain(["main", "lib", "fuzzing"]).collect();
    let strays: Vec<String> = sources("src")
        .iter()
        .filter(|source| !listed.contains(source.room()))
        .map(|source| format!("{} is in no room", source.path))
        .collect();
    assert_none(&strays);
}

#[test]
fn crates_are_named_in_their_rooms_only() {
    let rows: BTreeMap<&str, &[&str]> = CRATES.iter().copied().collect();
    let mut complaints = Vec::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for source in sources("src") {
        for (krate, rooms) in &rows {
            let path = format!("{krate}::");
            for (number, line) in source.shipped.lines().enumerate() {
                let is_named = line.match_indices(&path).any(|(at, _)| {
                    // `axum::` but neither `my_axum::` nor a module of ours, `super::axum::`.
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                }) || has_word(line, &format!("use {krate};"));
                if is_named {
                    named.insert(krate);
                    if !rooms.contains(&source.room()) {
                        complaints.push(format!(
                            "{}:{}: {} must not name {krate}",
                            source.path,
                            number + 1,
                            source.room()
                        ));
                    }
                }
            }
        }
    }
    for krate in dependencies() {
        match rows.get(krate.as_str()) {
            None => complaints.push(format!("Cargo.toml: {krate} has no line in CRATES")),
            Some(_) if !named.contains(krate.as_str()) => complaints.push(format!("Cargo.toml: nothing names {krate}")),
            Some(_) => {}
        }
    }
    assert_none(&complaints);
}

/// The crates under `[dependencies]`, as code names them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")))
        .collect()
}

#[test]
fn pure_rooms_have_no_runtime_clock_environment_or_thread() {
    let mut complaints = Vec::new();
    for source in sources("src").iter().filter(|source| SYNC_ROOMS.contains(&source.room())) {
        for (number, line) in source.shipped.lines().enumerate() {
            for (word, why) in IMPURE.iter().filter(|(word, _)| has_word(line, word)) {
                complaints.push(format!("{}:{}: {word}: {why}", source.path, number + 1));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn every_file_says_what_it_is_for() {
    let missing: Vec<String> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(sources)
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{} does not begin with //!", source.path))
        .collect();
    assert_none(&missing);
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    let mut complaints = Vec::new();
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        let text: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code.lines().enumerate() {
            if !has_word(line, "unsafe") || line.contains("unsafe_") {
                continue;
            }
            // A declaration states what its caller owes; a use states why it holds.
            let is_declaration = ["unsafe fn", "unsafe trait", "unsafe extern"].iter().any(|word| line.contains(word));
            let wanted = if is_declaration { "# Safety" } else { "SAFETY:" };
            let said = text[..number]
                .iter()
                .rev()
                .take_while(|above| {
                    let above = above.trim_start();
                    above.starts_with("//") || above.starts_with("#[") || ends_open(above)
                })
                .any(|above| above.contains(wanted));
            if !said && !text[number].contains(wanted) {
                complaints.push(format!("{}:{}: unsafe without {wanted}", source.path, number + 1));
            }
        }
    }
    assert_none(&complaints);
}

/// The line goes on: the comment above it belongs to what follows, too.
fn ends_open(line: &str) -> bool {
    ["=", "(", "&&", "||", "return", "+"].iter().any(|end| line.trim_end().ends_with(end))
}

#[test]
fn nothing_is_left_unfinished() {
    let mut complaints = Vec::new();
    for source in sources("src").iter().filter(|source| source.room() != "main") {
        for (number, line) in source.shipped.lines().enumerate() {
            for word in LEFTOVERS.iter().filter(|word| has_word(line, word)) {
                complaints.push(format!("{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn names_say_what_things_are() {
    let mut complaints = Vec::new();
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        let stem = source.path.rsplit('/').next().unwrap_or("").trim_end_matches(".rs");
        if EMPTY_WORDS.iter().any(|word| stem.split('_').any(|part| part.eq_ignore_ascii_case(word))) {
            complaints.push(format!("{}: the file's name says nothing", source.path));
        }
        for (number, line) in source.code.lines().enumerate() {
            for kind in ["struct ", "enum ", "trait ", "type "] {
                let Some((before, rest)) = line.split_once(kind) else { continue };
                if !before.trim().is_empty() && !before.trim_start().starts_with("pub") {
                    continue;
                }
                let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
                if camel_parts(name).iter().any(|part| EMPTY_WORDS.contains(&part.as_str())) {
                    complaints.push(format!("{}:{}: {name} says nothing", source.path, number + 1));
                }
            }
        }
    }
    assert_none(&complaints);
}

/// `LogStoreError` to `Log`, `Store`, `Error`.
fn camel_parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for c in name.chars() {
        match parts.last_mut() {
            Some(part) if !c.is_uppercase() => part.push(c),
            _ => parts.push(c.to_string()),
        }
    }
    parts
}

#[test]
fn every_test_file_is_listed() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).expect("tests/it/main.rs");
    let mut unlisted = Vec::new();
    for entry in fs::read_dir(root().join("tests/it")).expect("tests/it").flatten() {
        let name = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_string();
        if name != "main" && !main.contains(&format!("mod {name};")) {
            unlisted.push(format!("tests/it/{name} is not in main.rs: its tests never run"));
        }
    }
    assert_none(&unlisted);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    // In halves, so that this file does not name them either.
    let paths = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];
    let mut complaints = Vec::new();
    for folder in ["src", "tests", "benches", "scripts", "proto", "config", "helm", ".ci"] {
        for extension in ["rs", "py", "sh", "js", "mjs", "ts", "json", "proto", "toml", "yaml", "md", "txt", ""] {
            for path in named(&root().join(folder), extension) {
                let Ok(text) = fs::read_to_string(&path) else { continue };
                for (number, line) in text.lines().enumerate() {
                    if paths.iter().any(|machine| line.contains(machine)) {
                        complaints.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                    }
                }
            }
        }
    }
    assert_none(&complaints);
}

/// Like [`files`]; an empty extension stands for files without one. Leaves out what is not ours.
fn named(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "node_modules" && name != "target" && name != ".venv" && name != "__pycache__" {
                found.extend(named(&path, extension));
            }
        } else if path.extension().map_or(extension.is_empty(), |have| have == extension) {
            found.push(path);
        }
    }
    found
}

mod reads_text {
    //! The text tools above, on text where they could go wrong.

    use super::{blanked, camel_parts, has_word, rooms_used};

    #[test]
    fn literals_and_comments_are_blanked() {
        let check =
            |text: &str, want: &str| assert_eq!(blanked(text).split_whitespace().collect::<Vec<_>>().join(" "), want);
        check("a // b\nc", "a c");
        check("a /* b\n */ c", "a c");
        check(r#"a("b // c") d"#, "a( ) d");
        check(r#"a("\"b") c"#, "a( ) c");
        check("a(r#\"b \" c\"#) d", "a( ) d");
        check("a('\"') b('x') c('\\'') d", "a( ) b( ) c( ) d");
        check("fn a<'b>(c: &'b str) {}", "fn a<'b>(c: &'b str) {}");
        check("a('ä') b", "a( ) b");
    }

    #[test]
    fn rooms_are_found_in_paths_and_groups() {
        let used = |code: &str| rooms_used(code).into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" ");
        assert_eq!(used("use crate::model::Id; crate::raft::Node::new()"), "model raft");
        assert_eq!(used("use crate::{model::{a, b}, raft, };"), "model raft");
        assert_eq!(used("$crate::model"), "");
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("  async fn", "async") && has_word("x = todo!()", "todo!"));
        assert!(!has_word("is_async", "async") && !has_word("my_todo!()", "todo!"));
        assert_eq!(camel_parts("LogStoreError"), ["Log", "Store", "Error"]);
    }
}
