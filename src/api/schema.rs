//! The checks both transports make of a field index's schema (PROTOCOL section 8), and of what needs one (9.2, 9.4).

use super::checks::{At, Checked, Findings};
use super::status::ApiError;
use crate::model::field_index::IntegerParams;
use crate::text;

/// Languages by whose stopwords texts can be cleaned, as the protocol names them.
pub(super) const STOPWORD_LANGUAGES: [&str; 30] = [
    "arabic",
    "azerbaijani",
    "basque",
    "bengali",
    "catalan",
    "chinese",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hebrew",
    "hinglish",
    "hungarian",
    "indonesian",
    "italian",
    "japanese",
    "kazakh",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "slovene",
    "spanish",
    "swedish",
    "tajik",
    "turkish",
];

/// Languages words can be stemmed in, as the protocol names them.
pub(super) const STEMMER_LANGUAGES: [&str; 19] = [
    "arabic",
    "armenian",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
];

/// A language of stopwords by its lowercase name.
pub(super) fn stopword_language(found: &mut Findings, name: &str) -> Checked<String> {
    let name = name.to_lowercase();
    if !STOPWORD_LANGUAGES.contains(&name.as_str()) {
        return found.malformed(format_args!("unknown language of stopwords: `{name}`"));
    }
    match text::has_stopwords(&name) {
        true => Ok(name),
        false => found.refuse(ApiError::unimplemented(format_args!("{name} stopwords"))),
    }
}

/// A language of a Snowball stemmer by its lowercase name.
pub(super) fn stemmer_language(found: &mut Findings, name: &str) -> Checked<String> {
    let name = name.to_lowercase();
    if !STEMMER_LANGUAGES.contains(&name.as_str()) {
        return found.malformed(format_args!("unknown language of a stemmer: `{name}`"));
    }
    match text::has_stemmer(&name) {
        true => Ok(name),
        false => found.refuse(ApiError::unimplemented(format_args!("the {name} stemmer"))),
    }
}

/// An integer index must be good for something. `at` is where the schema stands.
pub(super) fn integer(found: &mut Findings, at: At<'_>, params: IntegerParams) -> Checked<IntegerParams> {
    if params.lookup == Some(false) && params.range == Some(false) {
        return found.invalid(at, "the 'lookup' and 'range' capabilities can't be both disabled");
    }
    Ok(params)
}

/// `nested` makes `is_empty` ask each element of an array: an index that changes answers.
pub(super) fn no_nested(found: &mut Findings, nested: &Option<String>) -> Checked<()> {
    found.absent(nested, "field indexes with `nested`")
}

/// A page of ordered points begins where `start_from` says.
pub(super) fn no_offset_with_order(found: &mut Findings, has_offset: bool, has_order: bool) -> Checked<()> {
    if has_offset && has_order {
        return found.refuse(ApiError::wrong_input(
            "Cannot use an `offset` when using `order_by`. The alternative for paging is to use `order_by.start_from` \
             and a filter to exclude the IDs that you've already seen for the `order_by.start_from` value",
        ));
    }
    Ok(())
}
