//! How texts are split into tokens.

use crate::model::field_index::TextParams;

pub struct Tokenizer {
    lowercase: bool,
}

impl Tokenizer {
    pub fn new(params: &TextParams) -> Tokenizer {
        Tokenizer { lowercase: params.lowercase.unwrap_or(true) }
    }

    /// Tokens of a stored text.
    pub fn document(&self, text: &str) -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(|word| if self.lowercase { word.to_lowercase() } else { word.to_owned() }).collect()
    }

    /// Tokens of a query.
    pub fn query(&self, text: &str) -> Vec<String> {
        self.document(text)
    }
}
