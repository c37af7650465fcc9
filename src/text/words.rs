//! Where one word ends and the next begins.

/// Runs of letters and digits, as they stand in `text`.
pub fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The parts of an identifier that is one word: `parseHTTPHeader2` is `parse`, `HTTP`, `Header`, `2`.
pub(super) fn identifier_parts(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let (part, after) = rest.split_at(first_part_length(rest));
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// Bytes of the first part of an identifier; 0 of an empty one.
fn first_part_length(word: &str) -> usize {
    let mut letters = word.char_indices().peekable();
    let Some((_, mut before)) = letters.next() else { return 0 };
    while let Some((at, letter)) = letters.next() {
        let begins_word = letter.is_uppercase() && !before.is_uppercase();
        // The last capital of a run begins the next word: HTTPHeader.
        let ends_acronym = letter.is_uppercase() && letters.peek().is_some_and(|(_, after)| after.is_lowercase());
        if begins_word || ends_acronym || letter.is_numeric() != before.is_numeric() {
            return at;
        }
        before = letter;
    }
    word.len()
}
