//! The API is what `openapi.json` says: every path of it is served, and answers by its schema. A small validator of the part of
//! JSON Schema that the document uses; scripts/check-dashboard.sh lets schemathesis look at the same from outside.

use serde_json::{Map, Value};

use crate::support::Site;

fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).expect("JSON")
}

fn is_type(word: &str, value: &Value) -> bool {
    match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the document has a type '{other}'"),
    }
}

/// Where a value is not as the schema says.
fn problems(document: &Value, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let found = document.pointer(name.trim_start_matches('#'));
        return problems(document, found.unwrap_or_else(|| panic!("{name} is not there")), value, at, out);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = |schema: &Value| {
            let mut own = Vec::new();
            problems(document, schema, value, at, &mut own);
            own
        };
        let all: Vec<Vec<String>> = any.iter().map(fits).collect();
        if !all.iter().any(Vec::is_empty) {
            out.extend(all.into_iter().min_by_key(Vec::len).unwrap_or_default());
        }
        return;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: a schema without a type"),
    };
    if !types.iter().any(|word| is_type(word, value)) {
        return out.push(format!("{at}: {value} is no {types:?}"));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        out.push(format!("{at}: {value} is not among {}", schema["enum"]));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        out.push(format!("{at}: {value} is not {}", schema["const"]));
    }
    if let (Some(items), Value::Array(values)) = (schema.get("items"), value) {
        for (index, value) in values.iter().enumerate() {
            problems(document, items, value, &format!("{at}[{index}]"), out);
        }
    }
    let Value::Object(fields) = value else { return };
    let none = Map::new();
    let known = schema["properties"].as_object().unwrap_or(&none);
    for needed in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(needed) {
            out.push(format!("{at}: {needed} is missing"));
        }
    }
    for (name, value) in fields {
        let at = format!("{at}.{name}");
        match (known.get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => problems(document, schema, value, &at, out),
            (None, Value::Bool(false)) => out.push(format!("{at} is not described")),
            (None, schema @ Value::Object(_)) => problems(document, schema, value, &at, out),
            (None, _) => {}
        }
    }
}

/// A value for every parameter that a call needs.
fn example(name: &str) -> &'static str {
    match name {
        "worker" => "lon1",
        "kind" => "rtp",
        "direction" => "up",
        "family" => "ipv4",
        "format" => "jsonl",
        other => panic!("no example for '{other}'"),
    }
}

#[tokio::test]
async fn every_path_is_served_and_answers_by_its_schema() {
    let (site, document) = (Site::new(), document());
    let mut judged = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(operation) = operations.get("get") else { continue };
        let needed = operation["parameters"].as_array().into_iter().flatten().filter(|one| one["required"] == true);
        let query: Vec<String> =
            needed.filter_map(|one| one["name"].as_str()).map(|name| format!("{name}={}", example(name))).collect();
        let content = &operation["responses"]["200"]["content"];
        if content.get("text/event-stream").is_some() {
            continue;
        }
        let reply = site.get(&format!("{path}?{}", query.join("&"))).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let kind = reply.header(axum::http::header::CONTENT_TYPE).split(';').next().unwrap_or_default().to_owned();
        assert!(content.get(&kind).is_some(), "{path} answers with {kind}");
        if kind == "application/json" {
            let mut found = Vec::new();
            problems(&document, &content[&kind]["schema"], &reply.json(), path, &mut found);
            assert!(found.is_empty(), "{}", found.join("\n"));
            judged += 1;
        }
        for missing in query.iter().enumerate().map(|(index, _)| index) {
            let mut without = query.clone();
            without.remove(missing);
            let reply = site.get(&format!("{path}?{}", without.join("&"))).await;
            assert_eq!(reply.status, 400, "{path} without {}", query[missing]);
            let mut found = Vec::new();
            problems(&document, &document["components"]["schemas"]["Error"], &reply.json(), path, &mut found);
            assert!(found.is_empty(), "{}", found.join("\n"));
        }
    }
    assert!(judged >= 11, "{judged}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_one_line() {
    let site = Site::new();
    for query in [
        "series?worker=lon1&kind=rtp&direction=up&family=ipv4&classes=64",
        "series?worker=lon1&kind=nothing&direction=up&family=ipv4",
        "classes?worker=UPPER",
        "classes?worker=lon1&since=5&until=4",
        "cities?since=-1",
        "cities?since=0&until=99999999999999999",
        "cities?since=yesterday",
        "applications?metric=ping",
        "applications?metric=media_dns",
    ] {
        let reply = site.get(&format!("/api/v1/view/{query}")).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
        assert!(!reply.json()["message"].as_str().unwrap().contains('\n'));
    }
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let document = document();
    let range = &document["components"]["schemas"]["Range"];
    let check = |value: Value| {
        let mut found = Vec::new();
        problems(&document, range, &value, "range", &mut found);
        found.len()
    };
    let good = serde_json::json!({"since": 0, "until": 60, "step_s": 60, "period_s": 60});
    assert_eq!(check(good.clone()), 0);
    let mut bad = good.clone();
    bad["since"] = "0".into();
    bad["more"] = 1.into();
    bad.as_object_mut().unwrap().remove("step_s");
    assert_eq!(check(bad), 3);
}
