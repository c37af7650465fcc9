//! Words of texts without a text index (PROTOCOL section 22): runs of letters and digits, in lower case.

use crate::text::words;

/// The words of a query's text, lowercased.
pub(super) fn of_query(text: &str) -> Vec<String> {
    words(text).map(str::to_lowercase).collect()
}

/// Whether every word of `query` occurs in `text`; an empty query occurs nowhere.
pub(super) fn has_all(text: &str, query: &[String]) -> bool {
    !query.is_empty() && query.iter().all(|wanted| words(text).any(|word| lowercase_is(word, wanted)))
}

/// Whether some word of `query` occurs in `text`.
pub(super) fn has_any(text: &str, query: &[String]) -> bool {
    words(text).any(|word| query.iter().any(|wanted| lowercase_is(word, wanted)))
}

/// Whether the words of `query` occur in `text` one after another; an empty query occurs nowhere.
pub(super) fn has_phrase(text: &str, query: &[String]) -> bool {
    if query.is_empty() {
        return false;
    }
    let mut here = words(text);
    loop {
        let mut ahead = here.clone();
        if query.iter().all(|wanted| ahead.next().is_some_and(|word| lowercase_is(word, wanted))) {
            return true;
        }
        if here.next().is_none() {
            return false;
        }
    }
}

/// Whether `word` in lower case is `wanted`, which is in lower case.
fn lowercase_is(word: &str, wanted: &str) -> bool {
    if word.is_ascii() { word.eq_ignore_ascii_case(wanted) } else { word.to_lowercase() == wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s22_words_of_a_text() {
        assert_eq!(
            of_query("Don't stop_me-NOW, 4x4; ÉTÉ straße Σίσυφος!"),
            ["don", "t", "stop", "me", "now", "4x4", "été", "straße", "σίσυφος"]
        );
        assert_eq!(of_query(" _-.,;\u{3000}"), [] as [&str; 0]);
    }

    #[test]
    fn s7_6_whole_words_in_any_case_and_order() {
        let text = "The quick BROWN fox; the lazy Дог";
        for (query, all, any, phrase) in [
            ("quick", true, true, true),
            ("qui", false, false, false),
            ("brown, quick", true, true, false),
            ("Quick.Brown", true, true, true),
            ("fox THE", true, true, true),
            ("the the", true, true, false),
            ("lazy дог", true, true, true),
            ("дог quick cat", false, true, false),
            ("lazy дог the", true, true, false),
            ("", false, false, false),
            ("--", false, false, false),
        ] {
            let words = of_query(query);
            assert_eq!(has_all(text, &words), all, "all of {query:?}");
            assert_eq!(has_any(text, &words), any, "any of {query:?}");
            assert_eq!(has_phrase(text, &words), phrase, "phrase {query:?}");
        }
    }

    #[test]
    fn s7_6_phrases_count_repeated_words() {
        assert!(has_phrase("a b a a b c", &of_query("a a b")));
        assert!(!has_phrase("a b a b", &of_query("a a b")));
    }
}
