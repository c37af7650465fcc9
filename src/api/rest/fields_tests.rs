//! Schemas of field indexes in, and as `info` shows them.

use super::*;

fn read(body: Value) -> Result<FieldIndexSchema, ApiError> {
    let body: CreateIndex = super::super::call::parse(body.to_string().as_bytes())?;
    from_body(|found| body.convert(found)).map(|(_, schema)| schema)
}

fn schema(schema: Value) -> Result<FieldIndexSchema, ApiError> {
    read(json!({ "field_name": "a.b[]", "field_schema": schema }))
}

fn shown(given: Value) -> Value {
    info(&FieldReport { schema: schema(given).unwrap(), point_count: 7 })
}

#[test]
fn s8_parameters_are_shown_only_when_given_as_an_object() {
    for name in ["keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid"] {
        assert_eq!(shown(json!(name)), json!({"data_type": name, "points": 7}));
        let object = json!({"type": name});
        assert_eq!(shown(object.clone()), json!({"data_type": name, "params": object, "points": 7}));
    }
}

#[test]
fn s8_every_parameter_comes_back() {
    for params in [
        json!({"type": "keyword", "is_tenant": true, "on_disk": false, "prefix": true, "enable_hnsw": false, "memory": "cold"}),
        json!({"type": "integer", "lookup": true, "range": false, "is_principal": true, "memory": "pinned"}),
        json!({"type": "float", "is_principal": false, "on_disk": true, "memory": "cached"}),
        json!({"type": "uuid", "is_tenant": true}),
        json!({
            "type": "text", "tokenizer": "multilingual", "lowercase": false, "ascii_folding": true,
            "min_token_len": 2, "max_token_len": 20, "phrase_matching": true, "scoring": true,
            "stopwords": {"languages": ["english", "german"], "custom": ["foo"]},
            "stemmer": {"type": "snowball", "language": "english"}, "on_disk": true,
        }),
        json!({"type": "text", "tokenizer": "word", "stopwords": "english", "stemmer": {"type": "none"}}),
        json!({"type": "text", "tokenizer": "code", "stopwords": {"custom": ["a"]}}),
    ] {
        assert_eq!(shown(params.clone())["params"], params);
    }
    let scoring = schema(json!({"type": "text", "scoring": {"type": "bm25"}})).unwrap();
    assert!(matches!(scoring.kind, FieldIndexKind::Text(TextParams { scoring: Some(true), .. })));
}

#[test]
fn s8_what_is_no_schema() {
    let refused = |given: Value| {
        let error = schema(given).unwrap_err();
        (error.http_status(), error.text)
    };
    let missing = read(json!({"field_name": "a"})).unwrap_err();
    assert_eq!(missing.http_status(), 400);
    assert!(missing.text.contains("Can't auto-detect field type, please specify `field_schema` in the request"));
    let (status, text) = refused(json!({"type": "integer", "lookup": false, "range": false}));
    assert_eq!(status, 422);
    assert!(text.contains("the 'lookup' and 'range' capabilities can't be both disabled"), "{text}");
    for given in [
        json!("blob"),
        json!({"type": "blob"}),
        json!({"tokenizer": "word"}),
        json!(7),
        json!({"type": "text", "tokenizer": "nope"}),
        json!({"type": "text", "stopwords": "klingon"}),
        json!({"type": "text", "stemmer": {"type": "snowball", "language": "klingon"}}),
        json!({"type": "keyword", "memory": "warm"}),
    ] {
        assert_eq!(refused(given.clone()).0, 400, "{given}");
    }
    assert_eq!(refused(json!({"type": "keyword", "nested": "a"})).0, 501);
    let bad_path = read(json!({"field_name": "a..b", "field_schema": "keyword"})).unwrap_err();
    assert_eq!(bad_path.http_status(), 400);
}

#[test]
fn s9_4_facets_have_a_limit_of_ten_unless_given() {
    let read = |body: Value| -> Result<FacetRequest, ApiError> {
        let body: Facet = super::super::call::parse(body.to_string().as_bytes())?;
        from_body(|found| body.convert(found))
    };
    let request = read(json!({"key": "a.b", "exact": true})).unwrap();
    assert_eq!(request, FacetRequest { key: "a.b".parse().unwrap(), limit: 10, filter: None });
    assert_eq!(read(json!({"key": "a", "limit": 0})).unwrap_err().http_status(), 422);
    assert_eq!(read(json!({"key": "a["})).unwrap_err().http_status(), 400);
    assert!(read(json!({})).is_err());
}
