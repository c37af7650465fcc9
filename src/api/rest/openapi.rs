//! The API's description for programs (OpenAPI 3.1), made from the table of operations and the types themselves.
//!
//! Operations that answer 501 whatever is sent are left out: nobody should generate a method for what is not there.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::call::Params;
use super::envelope::Usage;
use super::operation::{Answers, Operation, RequestBody};
use crate::api::status::{PROTOCOL_VERSION, TITLE};

/// Where named schemas stand in the document.
const SCHEMAS: &str = "/components/schemas";

/// The document as it is served, made once.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(text()));

pub(super) async fn serve() -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([content_type], DOCUMENT.clone()).into_response()
}

/// The document as text, one member a line: a change of the API shows as the lines it changes.
fn text() -> String {
    let document = document(&super::operations());
    format!("{document:#}\n")
}

/// The document that describes `operations`.
fn document(operations: &[Operation]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let parameters = parameter_schemas(&mut schemas);
    let mut paths = Map::new();
    for operation in operations {
        let described = describe(operation, &parameters, &mut schemas);
        let path = paths.entry(shown_path(operation.path)).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.as_str().to_ascii_lowercase(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": env!("CARGO_PKG_NAME"),
            "description": format!("{} Presents itself to clients as \"{TITLE}\".", env!("CARGO_PKG_DESCRIPTION")),
            "license": { "name": "Apache 2.0", "identifier": env!("CARGO_PKG_LICENSE") },
            "version": PROTOCOL_VERSION,
        },
        "security": [{ "api-key": [] }, { "bearer": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": { "Error": error_response(), "KeyMissing": key_missing() },
            "securitySchemes": {
                "api-key": { "type": "apiKey", "in": "header", "name": "api-key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

/// The query parameters there are, by their names.
fn parameter_schemas(schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let schema = Params::json_schema(schemas).to_value();
    schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn describe(operation: &Operation, parameters: &Map<String, Value>, schemas: &mut SchemaGenerator) -> Value {
    let in_path = path_names(operation.path)
        .map(|name| json!({ "name": shown_name(name), "in": "path", "required": true, "schema": path_schema(name) }));
    let in_query = operation.query.iter().map(|name| {
        let schema = parameters.get(*name).map(without_null).unwrap_or_default();
        json!({ "name": name, "in": "query", "required": false, "schema": schema })
    });
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": responses(operation, schemas),
    });
    let body = match operation.body {
        RequestBody::None => None,
        RequestBody::Json(schema) => Some(json!({ "application/json": { "schema": schema(schemas) } })),
        RequestBody::File(name) => Some(json!({ "multipart/form-data": { "schema": {
            "type": "object",
            "properties": { name: { "type": "string", "contentMediaType": "application/octet-stream" } },
            "required": [name],
        } } })),
    };
    if let Some(members) = described.as_object_mut() {
        if let Some(content) = body {
            members.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
        }
        if operation.is_deprecated {
            members.insert("deprecated".to_owned(), json!(true));
        }
    }
    described
}

/// What it may answer, by status.
fn responses(operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let (content, is_call) = match operation.answers {
        Answers::Enveloped(result) => {
            let schema = enveloped(result(schemas), schemas);
            (json!({ "application/json": { "schema": schema } }), true)
        }
        Answers::Bare(schema) => (json!({ "application/json": { "schema": schema(schemas) } }), false),
        Answers::Content(kind) => (json!({ kind: {} }), operation.path.contains('{')),
    };
    let mut responses = Map::from_iter([("200".to_owned(), json!({ "description": "Done.", "content": content }))]);
    let mut statuses = operation.statuses.to_vec();
    if is_call {
        // Malformed, invalid, not allowed, out of time, too many at once, going down.
        statuses.extend([400, 403, 408, 422, 429, 503]);
        if operation.path.contains("{name}") {
            statuses.push(404);
        }
        if !matches!(operation.body, RequestBody::None) {
            statuses.push(413);
        }
        if operation.method != Method::GET {
            statuses.push(507);
        }
    }
    for status in statuses {
        let response = match (status, operation.answers) {
            (202, _) => accepted(),
            (503, Answers::Content(kind)) if !is_call => json!({ "description": "Not now.", "content": { kind: {} } }),
            _ => json!({ "$ref": "#/components/responses/Error" }),
        };
        responses.insert(status.to_string(), response);
    }
    responses.insert("401".to_owned(), json!({ "$ref": "#/components/responses/KeyMissing" }));
    responses.sort_keys();
    Value::Object(responses)
}

/// `result` in the envelope of every success (CLIENTS section 3.3).
fn enveloped(result: Schema, schemas: &mut SchemaGenerator) -> Value {
    json!({
        "type": "object",
        "properties": {
            "result": result,
            "status": { "type": "string", "enum": ["ok"] },
            "time": { "type": "number", "format": "double", "description": "Seconds." },
            "usage": schemas.subschema_for::<Usage>(),
        },
        "required": ["result", "status", "time"],
    })
}

fn accepted() -> Value {
    let schema = json!({
        "type": "object",
        "properties": { "status": { "type": "string", "enum": ["accepted"] }, "time": { "type": "number" } },
        "required": ["status", "time"],
    });
    json!({ "description": "The work goes on.", "content": { "application/json": { "schema": schema } } })
}

fn error_response() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "status": { "type": "object", "properties": { "error": { "type": "string" } }, "required": ["error"] },
            "time": { "type": "number", "format": "double" },
        },
        "required": ["status", "time"],
    });
    json!({ "description": "What went wrong.", "content": { "application/json": { "schema": schema } } })
}

fn key_missing() -> Value {
    let content = json!({ "text/plain; charset=utf-8": { "schema": { "type": "string" } } });
    json!({ "description": "The key is missing or unknown.", "content": content })
}

/// What a parameter is when it is given: absent ones are left out, not null.
fn without_null(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let Some(members) = schema.as_object_mut() else { return schema };
    if let Some(kinds) = members.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [one] = kinds.as_slice() {
            let one = one.clone();
            members.insert("type".to_owned(), one);
        }
    }
    if let Some(shapes) = members.get_mut("anyOf").and_then(Value::as_array_mut) {
        shapes.retain(|shape| shape.get("type").is_none_or(|kind| kind != "null"));
    }
    schema
}

/// The names between the braces of a route.
fn path_names(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// What the protocol calls a part of a path.
fn shown_name(name: &str) -> &str {
    match name {
        "name" => "collection_name",
        "field" => "field_name",
        "snapshot" => "snapshot_name",
        "vector" => "vector_name",
        "shard" => "shard_id",
        other => other,
    }
}

fn shown_path(path: &'static str) -> String {
    path_names(path)
        .fold(path.to_owned(), |path, name| path.replace(&format!("{{{name}}}"), &format!("{{{}}}", shown_name(name))))
}

fn path_schema(name: &str) -> Value {
    match name {
        "name" => json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        "id" => json!({ "anyOf": [
            { "type": "integer", "format": "uint64", "minimum": 0 },
            { "type": "string", "format": "uuid" },
        ] }),
        "shard" => json!({ "type": "integer", "format": "uint64", "minimum": 0 }),
        _ => json!({ "type": "string", "minLength": 1 }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::operations;
    use super::*;

    /// The copy that is kept where people look for it. `UPDATE_EXPECT=1` writes it anew.
    #[test]
    fn the_kept_copy_is_what_the_code_generates() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        let made = text();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = made.lines().zip(kept.lines()).enumerate().find(|(_, (made, kept))| made != kept);
        assert_eq!(differs, None, "docs/openapi.json is old: UPDATE_EXPECT=1 writes it");
        assert_eq!(made.len(), kept.len());
    }

    #[test]
    fn operations_are_described_once_each() {
        let operations = operations();
        let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), operations.len(), "an id is used twice");
        let parameters = parameter_schemas(&mut SchemaGenerator::default());
        for operation in &operations {
            assert!(!operation.summary.is_empty() && !operation.tag.is_empty(), "{}", operation.path);
            for name in operation.query {
                assert!(parameters.contains_key(*name), "{}: no parameter is called {name}", operation.path);
            }
        }
    }

    /// What changes nothing may be asked with a key that only reads, and the other way round.
    #[test]
    fn clients_3_2_reads_are_reads() {
        use super::super::layers::access;
        use crate::api::auth::Access;
        for operation in operations() {
            let reads = operation.query.contains(&"consistency") || operation.method == Method::GET;
            let writes = operation.query.contains(&"wait") || (operation.query == ["timeout"] && !reads);
            let access = access(&operation.method, Some(operation.path));
            assert!(!writes || access == Access::Write, "{} {}", operation.method, operation.path);
            assert!(!reads || access != Access::Write, "{} {}", operation.method, operation.path);
            assert!(reads || access == Access::Write, "{} {}", operation.method, operation.path);
        }
    }

    /// Every reference leads somewhere.
    #[test]
    fn references_resolve() {
        fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document(&operations());
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
