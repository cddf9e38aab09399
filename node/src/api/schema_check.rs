//! A request body against a JSON schema of our own. Knows the words that those schemas use: `type`,
//! `enum`, `required`, `properties`, `additionalProperties`, `items`, `uniqueItems`, `minItems`,
//! `minimum`, `maxLength`, `$ref` to `#/definitions/...` and `allOf`. All others say nothing about
//! what is valid.

use serde_json::{Map, Value};

/// Why a body does not match; where and what, for the client.
pub(super) type Mismatch = String;

/// Checks `value` against `schema`, whose references are to its own definitions.
pub(super) fn check(schema: &Value, value: &Value) -> Result<(), Mismatch> {
    let root = Root {
        name: text(schema, "name"),
        definitions: schema.get("definitions"),
    };
    root.check(schema, value, "").map_err(|cause| {
        format!(
            "Provided object does not match schema '{}': {cause}",
            root.name
        )
    })
}

struct Root<'s> {
    name: &'s str,
    definitions: Option<&'s Value>,
}

impl Root<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), Mismatch> {
        if let Some(name) = text(schema, "$ref").strip_prefix("#/definitions/") {
            let definition = self.definitions.and_then(|all| all.get(name));
            return definition.map_or(Ok(()), |schema| self.check(schema, value, at));
        }
        for part in list(schema, "allOf") {
            self.check(part, value, at)?;
        }
        let kind = text(schema, "type");
        if !kind.is_empty() && !is(kind, value) {
            return Err(format!("{}{} is not of type '{kind}'", at, show(value)));
        }
        let allowed = list(schema, "enum");
        if !allowed.is_empty() && !allowed.contains(value) {
            let allowed = Value::from(allowed.to_vec());
            return Err(format!("{}{} is not one of {allowed}", at, show(value)));
        }
        match value {
            Value::String(text) => {
                let longest = schema.get("maxLength").and_then(Value::as_u64);
                if longest.is_some_and(|longest| text.chars().count() as u64 > longest) {
                    return Err(format!("{}{} is too long", at, show(value)));
                }
                Ok(())
            }
            Value::Number(number) => {
                let least = schema.get("minimum").and_then(Value::as_f64);
                match (least, number.as_f64()) {
                    (Some(least), Some(number)) if number < least => {
                        Err(format!("{at}{number} is less than the minimum of {least}"))
                    }
                    _ => Ok(()),
                }
            }
            Value::Array(items) => self.check_items(schema, items, at),
            Value::Object(members) => self.check_members(schema, members, at),
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    fn check_items(&self, schema: &Value, items: &[Value], at: &str) -> Result<(), Mismatch> {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            return Err(format!("{at}the list is too short"));
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            // Those that must be unique are texts; what is none is refused as such.
            let mut texts: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            texts.sort_unstable();
            if texts.windows(2).any(|pair| pair.first() == pair.last()) {
                return Err(format!("{at}the list has non-unique elements"));
            }
        }
        let Some(item) = schema.get("items") else {
            return Ok(());
        };
        for (place, value) in items.iter().enumerate() {
            self.check(item, value, &format!("{}[{place}]: ", trimmed(at)))?;
        }
        Ok(())
    }

    fn check_members(
        &self,
        schema: &Value,
        members: &Map<String, Value>,
        at: &str,
    ) -> Result<(), Mismatch> {
        for name in list(schema, "required").iter().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                return Err(format!("{at}'{name}' is a required property"));
            }
        }
        for (name, value) in members {
            let known = schema.get("properties").and_then(|all| all.get(name));
            let schema = match (known, schema.get("additionalProperties")) {
                (Some(known), _) => known,
                (None, Some(Value::Bool(false))) => {
                    return Err(format!(
                        "{at}Additional properties are not allowed ('{name}' was unexpected)"
                    ));
                }
                (None, Some(additional)) => additional,
                (None, None) => continue,
            };
            self.check(schema, value, &format!("{}.{name}: ", trimmed(at)))?;
        }
        Ok(())
    }
}

/// Where, without the colon.
fn trimmed(at: &str) -> &str {
    at.strip_suffix(": ").unwrap_or(at)
}

fn is(kind: &str, value: &Value) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => {
            let whole = || number.as_f64().is_some_and(|number| number.fract() == 0.0);
            kind == "number" || (kind == "integer" && whole())
        }
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}

/// Characters of a value that an error shows.
const SHOWN: usize = 100;

fn show(value: &Value) -> String {
    value.to_string().chars().take(SHOWN).collect()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    match value.get(name) {
        Some(Value::Array(items)) => items,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "name": "thing",
            "additionalProperties": false,
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "maxLength": 3},
                "kind": {"type": "string", "enum": ["a", null]},
                "count": {"$ref": "#/definitions/count"},
                "list": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "string"}},
                "map": {"type": "object", "additionalProperties": {"required": ["x"]}},
                "any": {},
            },
            "definitions": {
                "count": {"allOf": [{"type": "integer"}, {"minimum": 0}]},
            },
        })
    }

    #[test]
    fn what_a_schema_says_is_held_to() {
        for good in [
            json!({"name": "ééé"}),
            json!({"name": "", "kind": "a", "count": 0, "any": [{}]}),
            json!({"name": "n", "count": 2.0, "list": ["a", "b"], "map": {"k": {"x": 1}}}),
        ] {
            assert_eq!(check(&schema(), &good), Ok(()), "{good}");
        }
        for (bad, cause) in [
            (json!({}), "'name' is a required property"),
            (json!({"name": "four"}), ".name: \"four\" is too long"),
            (json!({"name": 1}), ".name: 1 is not of type 'string'"),
            (json!({"name": "n", "x": 1}), "('x' was unexpected)"),
            (json!({"name": "n", "kind": "b"}), "is not one of"),
            (json!({"name": "n", "kind": null}), "is not of type"),
            (json!({"name": "n", "count": -1}), "less than the minimum"),
            (
                json!({"name": "n", "count": 1.5}),
                "is not of type 'integer'",
            ),
            (json!({"name": "n", "list": []}), "too short"),
            (json!({"name": "n", "list": ["a", "a"]}), "non-unique"),
            (json!({"name": "n", "list": [1]}), ".list[0]: 1 is not"),
            (json!({"name": "n", "map": {"k": {}}}), ".map.k: 'x' is a"),
        ] {
            let refused = check(&schema(), &bad).unwrap_err();
            assert!(refused.contains(cause), "{bad}: {refused}");
            assert!(refused.starts_with("Provided object does not match schema 'thing': "));
        }
    }
}
