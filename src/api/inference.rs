//! Vectors computed in the server from what a request brings instead of them (PROTOCOL section 13.3): BM25 weights of
//! texts. There is no service for other models.
//!
//! It deliberately does not look at which vector the result is for: the service refuses it where it does not fit.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::checks::{Checked, Findings};
use super::status::ApiError;
use crate::model::Vector;
use crate::model::field_index::{Stemmer, Stopwords, TokenizerKind};
use crate::text::{self, Bm25, Bm25Options};

/// The names of the one model there is, in lower case.
const BM25_NAMES: [&str; 2] = ["qdrant/bm25", "bm25"];

/// An object a vector is to be computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Inference {
    pub input: Input,
    /// As it was given.
    pub model: String,
    pub options: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Text(String),
    /// An image, or whatever else.
    Other,
}

/// What the computed vector is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be stored with a point: tokens weigh what they are worth in the text.
    Store,
    /// To be searched near: every token weighs the same.
    Search,
}

/// Tokens of the texts of a request, by the model's name as it was given.
pub type Tokens = BTreeMap<String, u64>;

/// The model of the request's last text: texts of one request mostly have the same options.
#[derive(Debug, Default)]
pub struct Models {
    bm25: Option<(Map<String, Value>, Bm25)>,
    tokens: Tokens,
}

impl Models {
    /// What has been computed so far.
    pub fn take_tokens(&mut self) -> Tokens {
        std::mem::take(&mut self.tokens)
    }

    fn bm25(&mut self, options: Map<String, Value>) -> Result<&Bm25, String> {
        let known = self.bm25.take().filter(|(of, _)| *of == options);
        let (_, model) = self.bm25.insert(match known {
            Some(known) => known,
            None => {
                let model = bm25_from_options(&options)?;
                (options, model)
            }
        });
        Ok(model)
    }
}

/// The vector `inference` asks for.
pub fn vector(found: &mut Findings, inference: Inference, purpose: Purpose) -> Checked<Vector> {
    let Inference { input, model, options } = inference;
    if !BM25_NAMES.contains(&model.to_lowercase().as_str()) {
        return found.refuse(ApiError::internal(format_args!(
            "InferenceService is not configured: of all models only `qdrant/bm25` is served, not `{model}`"
        )));
    }
    let Input::Text(text) = input else {
        return found.refuse(ApiError::wrong_input(format_args!("Only text input is supported for {model}.")));
    };
    let computed = found.models().bm25(options).map(|bm25| match purpose {
        Purpose::Store => bm25.weigh_document(&text),
        Purpose::Search => bm25.weigh_query(&text),
    });
    match computed {
        Ok((weights, tokens)) => {
            *found.models().tokens.entry(model).or_default() += tokens as u64;
            Ok(Vector::Sparse(weights))
        }
        Err(error) => found.refuse(ApiError::wrong_input(format_args!("Invalid BM25 config: {error}"))),
    }
}

/// Members that are no options are passed over, as the protocol has it.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Bm25Options")]
pub(in crate::api) struct OptionsBody {
    k: Option<f64>,
    b: Option<f64>,
    avg_len: Option<f64>,
    tokenizer: Option<TokenizerName>,
    language: Option<String>,
    lowercase: Option<bool>,
    ascii_folding: Option<bool>,
    stopwords: Option<StopwordsBody>,
    stemmer: Option<StemmerBody>,
    min_token_len: Option<usize>,
    max_token_len: Option<usize>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Bm25Tokenizer")]
#[serde(rename_all = "snake_case")]
enum TokenizerName {
    Word,
    Whitespace,
    Prefix,
    Multilingual,
    Code,
}

/// A language, or languages and words.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Bm25Stopwords")]
#[serde(untagged)]
enum StopwordsBody {
    Language(String),
    Set { languages: Option<Vec<String>>, custom: Option<Vec<String>> },
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Bm25Stemmer")]
#[serde(tag = "type", rename_all = "snake_case")]
enum StemmerBody {
    None,
    Snowball { language: String },
}

fn bm25_from_options(options: &Map<String, Value>) -> Result<Bm25, String> {
    let body = OptionsBody::deserialize(options).map_err(|error| error.to_string())?;
    let options = Bm25Options {
        k: body.k,
        b: body.b,
        avg_len: body.avg_len,
        tokenizer: body.tokenizer.map(|name| match name {
            TokenizerName::Word => TokenizerKind::Word,
            TokenizerName::Whitespace => TokenizerKind::Whitespace,
            TokenizerName::Prefix => TokenizerKind::Prefix,
            TokenizerName::Multilingual => TokenizerKind::Multilingual,
            TokenizerName::Code => TokenizerKind::Code,
        }),
        language: body.language,
        lowercase: body.lowercase,
        ascii_folding: body.ascii_folding,
        stopwords: body.stopwords.map(stopwords).transpose()?,
        stemmer: body.stemmer.map(stemmer).transpose()?,
        min_token_len: body.min_token_len,
        max_token_len: body.max_token_len,
    };
    Bm25::new(&options).map_err(|error| error.to_string())
}

fn stopwords(body: StopwordsBody) -> Result<Stopwords, String> {
    let (is_bare, languages, custom) = match body {
        StopwordsBody::Language(language) => (true, vec![language], Vec::new()),
        StopwordsBody::Set { languages, custom } => (false, languages.unwrap_or_default(), custom.unwrap_or_default()),
    };
    match languages.iter().find(|language| !text::has_stopwords(language)) {
        Some(language) => Err(format!("there are no stopwords of the language `{language}`")),
        None => Ok(Stopwords { is_bare, languages, custom: custom.into_iter().collect() }),
    }
}

fn stemmer(body: StemmerBody) -> Result<Stemmer, String> {
    match body {
        StemmerBody::None => Ok(Stemmer::None),
        StemmerBody::Snowball { language } if text::has_stemmer(&language) => Ok(Stemmer::Snowball(language)),
        StemmerBody::Snowball { language } => Err(format!("there is no stemmer of the language `{language}`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::SparseVector;

    fn infer(input: Input, model: &str, options: Value, purpose: Purpose) -> Result<SparseVector, (u16, String)> {
        let Value::Object(options) = options else { panic!("options are an object") };
        let mut found = Findings::new();
        let inference = Inference { input, model: model.to_owned(), options };
        let value = vector(&mut found, inference, purpose);
        match found.finish("JSON body", value) {
            Ok(Vector::Sparse(vector)) => Ok(vector),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err((error.http_status(), error.text)),
        }
    }

    fn text(text: &str) -> Input {
        Input::Text(text.to_owned())
    }

    #[test]
    fn s13_3_texts_become_weights_under_any_spelling_of_the_model() {
        let bm25 = Bm25::new(&Bm25Options::default()).unwrap();
        for model in ["qdrant/bm25", "Qdrant/BM25", "bm25", "Bm25"] {
            let stored = infer(text("the foxes run"), model, json!({}), Purpose::Store).unwrap();
            assert_eq!(stored, bm25.document("the foxes run"));
            let searched = infer(text("the foxes run"), model, json!({}), Purpose::Search).unwrap();
            assert_eq!(searched, bm25.query("the foxes run"));
            assert_ne!(stored, searched);
        }
        assert!(infer(text("the"), "bm25", json!({}), Purpose::Store).unwrap().is_empty());
    }

    #[test]
    fn s13_3_every_option_reaches_the_model() {
        let weights = |options| infer(text("Les Cafés a cafés aaaa"), "bm25", options, Purpose::Store).unwrap();
        let plain = json!({"language": "none"});
        let count = |more: Value| {
            let mut options = plain.as_object().unwrap().clone();
            options.extend(more.as_object().unwrap().clone());
            weights(Value::Object(options))
        };
        let default = count(json!({}));
        assert_eq!(default.len(), 4);
        for (more, len) in [
            (json!({"lowercase": false}), 5),
            (json!({"stopwords": "french"}), 3),
            (json!({"stopwords": {"languages": ["french"], "custom": ["aaaa"]}}), 2),
            (json!({"stopwords": {}}), 4),
            (json!({"min_token_len": 2}), 3),
            (json!({"max_token_len": 3}), 2),
            (json!({"tokenizer": "prefix"}), 12),
            (json!({"tokenizer": "whitespace", "unknown": 1, "k": null}), 4),
        ] {
            assert_eq!(count(more.clone()).len(), len, "{more}");
        }
        for more in [
            json!({"k": 2}),
            json!({"b": 0.1}),
            json!({"avg_len": 3}),
            json!({"ascii_folding": true}),
            json!({"stemmer": {"type": "snowball", "language": "french"}}),
            json!({"language": "french"}),
        ] {
            assert_ne!(count(more.clone()), default, "{more}");
        }
        let stemmed = weights(json!({"language": "french", "stopwords": {}}));
        let with_stemmer = json!({"stopwords": {}, "stemmer": {"type": "snowball", "language": "french"}});
        assert_eq!(stemmed, weights(with_stemmer));
        let unstemmed = json!({"language": "french", "stopwords": {}, "stemmer": {"type": "none"}});
        assert_eq!(weights(unstemmed), default);
    }

    #[test]
    fn s13_3_bad_options_are_named() {
        for (options, what) in [
            (json!({"k": -1}), "k is -1, must be finite and at least 0"),
            (json!({"b": 1.5}), "b is 1.5, must be from 0 to 1"),
            (json!({"avg_len": 0}), "avg_len is 0, must be finite and above 0"),
            (json!({"k": "high"}), "invalid type: string \"high\", expected f64"),
            (json!({"tokenizer": "letters"}), "unknown variant `letters`"),
            (json!({"min_token_len": -1}), "invalid value: integer `-1`"),
            (json!({"stopwords": "klingon"}), "there are no stopwords of the language `klingon`"),
            (json!({"stopwords": {"languages": ["none"]}}), "there are no stopwords of the language `none`"),
            (json!({"stemmer": {"type": "snowball", "language": "klingon"}}), "there is no stemmer of the language"),
            (json!({"stemmer": {"type": "porter"}}), "unknown variant `porter`"),
        ] {
            let (status, error) = infer(text("a"), "bm25", options.clone(), Purpose::Search).unwrap_err();
            assert_eq!(status, 400, "{options}");
            assert!(error.starts_with(&format!("Wrong input: Invalid BM25 config: {what}")), "{options}: {error}");
        }
    }

    #[test]
    fn s13_3_only_texts_and_only_bm25() {
        let refused = infer(Input::Other, "Qdrant/bm25", json!({}), Purpose::Store).unwrap_err();
        assert_eq!(refused, (400, "Wrong input: Only text input is supported for Qdrant/bm25.".to_owned()));
        for input in [text("a"), Input::Other] {
            let (status, error) = infer(input, "openai/small", json!({}), Purpose::Store).unwrap_err();
            assert_eq!(status, 500);
            assert!(error.starts_with("Service internal error: InferenceService "), "{error}");
        }
    }

    #[test]
    fn a_request_may_mix_options() {
        let mut found = Findings::new();
        let mut weights = |options: Value| {
            let Value::Object(options) = options else { panic!("options are an object") };
            let inference = Inference { input: text("the end"), model: "bm25".to_owned(), options };
            match vector(&mut found, inference, Purpose::Store) {
                Ok(Vector::Sparse(vector)) => vector.len(),
                other => panic!("{other:?}"),
            }
        };
        let counts = [json!({}), json!({"language": "none"}), json!({}), json!({})].map(&mut weights);
        assert_eq!(counts, [1, 2, 1, 1]);
    }
}
