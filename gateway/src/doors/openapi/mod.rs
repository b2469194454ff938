//! The `OpenAPI` document of the HTTP doors, written from THE LIST of addresses: a row that says nothing about itself does
//! not compile, and one that is not served is not in it.

mod schemas;
mod words;

use axum::response::Response;
use serde_json::{Map, Value, json};

use self::words::{Body, Words, words};
use super::answer::{self, JSON};
use super::query::{Field, Kind};
use super::rows::{Endpoint, Place, ROWS, Row};

/// Answers with the document.
pub(super) fn answer() -> Response {
    answer::json(200, JSON, &document())
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for row in ROWS.iter().filter(|row| row.endpoint != Endpoint::Grpc) {
        let path = paths.entry(path(row)).or_insert_with(|| item(row));
        if let Value::Object(item) = path {
            item.insert(row.method.to_ascii_lowercase(), operation(row));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weft gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Durable tasks for agents: plain REST below /v1, and the HTTP+JSON and JSON-RPC bindings of \
                A2A 1.0. The same operations are served over gRPC as lf.a2a.v1.A2AService on the same port.",
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "plain", "description": "REST for people without A2A"},
            {"name": "a2a", "description": "A2A 1.0; send the header A2A-Version: 1.0"},
            {"name": "gateway", "description": "What the gateway says about itself and its agents"},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer",
                    "description": "An API key, or a JWT of the configured issuer."},
            },
        },
        // Credentials, or none where the gateway is open.
        "security": [{"bearer": []}, {}],
    })
}

/// The path as `OpenAPI` writes it.
fn path(row: &Row) -> String {
    row.path.replace("...}", "}")
}

/// What holds for all methods of a path: the other places where it exists.
fn item(row: &Row) -> Value {
    let named = |url: &str, names: &[&str]| {
        let variables: Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), json!({"default": *name}))).collect();
        json!({"url": url, "variables": variables})
    };
    let mut servers = vec![json!({"url": "/"})];
    if row.place != Place::Root {
        servers.push(named("/agents/{agent}", &["agent"]));
    }
    if row.place == Place::Everywhere {
        servers.push(named("/{tenant}", &["tenant"]));
        servers.push(named("/agents/{agent}/{tenant}", &["agent", "tenant"]));
    }
    json!({ "servers": servers })
}

fn operation(row: &Row) -> Value {
    let words = words(row.endpoint);
    let mut operation = json!({
        "operationId": format!("{:?}{}", row.endpoint, if twice(row) { row.method } else { "" }),
        "summary": words.summary,
        "tags": [words.tag()],
        "parameters": parameters(row, &words),
        "responses": responses(&words),
    });
    if let Some(body) = request_body(row, &words)
        && let Value::Object(members) = &mut operation
    {
        members.insert("requestBody".to_owned(), body);
    }
    operation
}

/// Whether the endpoint has another row, so that its name alone is no unique id.
fn twice(row: &Row) -> bool {
    ROWS.iter().filter(|other| other.endpoint == row.endpoint).count() > 1
}

fn parameters(row: &Row, words: &Words) -> Vec<Value> {
    let places = row.path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let mut parameters: Vec<Value> = places
        .map(|(name, _)| {
            let name = name.trim_end_matches("...");
            json!({"name": name, "in": "path", "required": true,
                "description": words::place(name), "schema": {"type": "string"}})
        })
        .collect();
    let in_query = words.query.iter().filter(|_| row.method == "GET" || !words.is_a2a());
    parameters.extend(in_query.map(|field| {
        json!({"name": field.name, "in": "query", "description": field.about, "schema": schema(field)})
    }));
    parameters.extend(words.headers.iter().map(|(name, about)| {
        json!({"name": name, "in": "header", "description": about, "schema": {"type": "string"}})
    }));
    parameters
}

fn schema(field: &Field) -> Value {
    match field.kind {
        Kind::Text | Kind::State => json!({"type": "string"}),
        Kind::Number => json!({"type": "integer", "format": "int32"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
    }
}

fn content(body: &Body) -> Value {
    match body {
        Body::Nothing => json!({}),
        Body::Json(media_types, schema) => {
            let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
            let each = media_types
                .iter()
                .map(|media_type| ((*media_type).to_owned(), json!({ "schema": schema })));
            Value::Object(each.collect())
        }
        Body::Anything => json!({"*/*": {"schema": {}}}),
        Body::Events => json!({"text/event-stream": {"schema": {"type": "string"}}}),
    }
}

fn request_body(row: &Row, words: &Words) -> Option<Value> {
    let has_body = row.method == "POST" && !matches!(words.request, Body::Nothing);
    has_body.then(|| json!({"required": words.needs_body, "content": content(&words.request)}))
}

fn responses(words: &Words) -> Value {
    let mut responses = Map::new();
    for (status, about) in words.statuses {
        let mut response = json!({ "description": about });
        if let (Value::Object(members), false) =
            (&mut response, matches!(words.response, Body::Nothing))
        {
            members.insert("content".to_owned(), content(&words.response));
        }
        responses.insert((*status).to_owned(), response);
    }
    let error = json!({"$ref": "#/components/schemas/Error"});
    for (status, about) in words.refusals.iter().chain(&[("default", "Why there is no result")]) {
        let response = json!({"description": about, "content": {words.json(): {"schema": error}}});
        responses.insert((*status).to_owned(), response);
    }
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_it_and_every_reference_leads_somewhere() {
        let document = document();
        for row in ROWS.iter().filter(|row| row.endpoint != Endpoint::Grpc) {
            let operation = document["paths"]
                .get(path(row))
                .and_then(|item| item.get(row.method.to_ascii_lowercase()));
            assert!(operation.is_some(), "{} {}", row.method, row.path);
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
