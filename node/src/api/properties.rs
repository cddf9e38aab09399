//! Custom properties that have a definition: those of the operator's `image_format.schema_file`,
//! else the reference's (image-api 1.9). They are shown in the image schema, values are held
//! against them, and what is `required` must be there when an image is created.
//!
//! Of JSON Schema only what says something about a string is taken. A file with any other keyword
//! is refused, for what it asks would be shown to clients and not be enforced.

use std::{collections::BTreeMap, io::Read as _, path::Path};

use regex::Regex;
use serde_json::{Map, Value, json};

use super::{
    attribute::{self, Kind},
    schemas::UUID_PATTERN,
};

/// Most bytes of the file.
const FILE_BYTES: u64 = 256 << 10;
/// Most bytes of one compiled pattern.
const PATTERN_BYTES: usize = 1 << 20;

/// The definitions.
#[derive(Debug, Clone)]
pub struct Properties {
    definitions: Map<String, Value>,
    rules: BTreeMap<String, Rule>,
    required: Vec<String>,
}

/// What one definition asks of a value.
#[derive(Debug, Clone, Default)]
struct Rule {
    nullable: bool,
    choices: Option<Vec<Value>>,
    shortest: Option<usize>,
    longest: Option<usize>,
    pattern: Option<Regex>,
}

impl Default for Properties {
    fn default() -> Self {
        // The shipped definitions are valid: a test reads them.
        Self::parse(shipped()).unwrap_or(Self {
            definitions: Map::new(),
            rules: BTreeMap::new(),
            required: Vec::new(),
        })
    }
}

impl Properties {
    /// Reads the operator's file, in either form of the reference: definitions by name, or those
    /// in `properties` with a list `required` beside them.
    ///
    /// # Errors
    /// What is wrong with the file, with its name.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let in_file = |cause: String| format!("{}: {cause}", path.display());
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(|cause| in_file(cause.to_string()))?;
        if text.len() as u64 > FILE_BYTES {
            return Err(in_file(format!("longer than {FILE_BYTES} bytes")));
        }
        let document = serde_json::from_str(&text).map_err(|cause| in_file(cause.to_string()))?;
        Self::parse(document).map_err(in_file)
    }

    pub(super) fn parse(document: Value) -> Result<Self, String> {
        let Value::Object(mut members) = document else {
            return Err("not a JSON object".to_owned());
        };
        let mut required: Vec<String> = Vec::new();
        if let Some(definitions) = members.remove("properties") {
            if let Some(list) = members.remove("required") {
                required = serde_json::from_value(list)
                    .map_err(|_| "`required` is not a list of names".to_owned())?;
            }
            if let Some(name) = members.keys().next() {
                return Err(format!(
                    "{name:?} stands beside `properties`: only `required` may"
                ));
            }
            let Value::Object(definitions) = definitions else {
                return Err("`properties` is not a JSON object".to_owned());
            };
            members = definitions;
        }
        for name in &required {
            if attribute::kind(name).is_err() {
                return Err(format!("`required`: no client can set {name:?}"));
            }
        }
        let mut rules = BTreeMap::new();
        for (name, definition) in &mut members {
            if !matches!(attribute::kind(name), Ok(Kind::Custom)) {
                return Err(format!("{name:?} is not the name of a custom property"));
            }
            let rule = Rule::parse(definition).map_err(|cause| format!("{name:?}: {cause}"))?;
            if let Some(definition) = definition.as_object_mut() {
                definition.insert("is_base".to_owned(), false.into());
            }
            rules.insert(name.clone(), rule);
        }
        Ok(Self {
            definitions: members,
            rules,
            required,
        })
    }

    /// As the image schema shows them.
    pub(super) fn definitions(&self) -> &Map<String, Value> {
        &self.definitions
    }

    /// Names of what an image must be created with.
    pub(super) fn required(&self) -> &[String] {
        &self.required
    }

    /// Whether the property can be null.
    pub(super) fn nullable(&self, name: &str) -> bool {
        self.rules.get(name).is_some_and(Rule::takes_null)
    }

    /// What is wrong with the text as the value of the property.
    pub(super) fn check(&self, name: &str, text: &str) -> Result<(), String> {
        self.rules.get(name).map_or(Ok(()), |rule| rule.check(text))
    }
}

impl Rule {
    fn parse(definition: &Value) -> Result<Self, String> {
        let members = definition.as_object().ok_or("not a JSON object")?;
        let mut rule = Self::default();
        let mut text = !members.contains_key("type");
        for (keyword, value) in members {
            match keyword.as_str() {
                "title" | "description" | "default" | "is_base" => {}
                "type" => {
                    let types = value
                        .as_array()
                        .map_or(std::slice::from_ref(value), Vec::as_slice);
                    for name in types {
                        match name.as_str() {
                            Some("string") => text = true,
                            Some("null") => rule.nullable = true,
                            _ => return Err(format!("`type`: {name} is not string or null")),
                        }
                    }
                }
                "enum" => {
                    let choices = value.as_array().filter(|list| {
                        !list.is_empty() && list.iter().all(|one| one.is_string() || one.is_null())
                    });
                    rule.choices = Some(choices.ok_or("`enum` is not a list of strings")?.clone());
                }
                "minLength" => rule.shortest = Some(length(keyword, value)?),
                "maxLength" => rule.longest = Some(length(keyword, value)?),
                "pattern" => {
                    let text = value.as_str().ok_or("`pattern` is not a string")?;
                    let pattern = regex::RegexBuilder::new(text)
                        .size_limit(PATTERN_BYTES)
                        .build()
                        .map_err(|cause| format!("`pattern`: {cause}"))?;
                    rule.pattern = Some(pattern);
                }
                other => return Err(format!("the keyword {other:?} is not supported")),
            }
        }
        if !text {
            return Err("`type` must allow string".to_owned());
        }
        Ok(rule)
    }

    fn takes_null(&self) -> bool {
        let chosen = self.choices.as_ref();
        self.nullable && chosen.is_none_or(|choices| choices.contains(&Value::Null))
    }

    fn check(&self, text: &str) -> Result<(), String> {
        if let Some(choices) = &self.choices
            && !choices.iter().any(|choice| choice == text)
        {
            let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
            return Err(format!("is not one of {}", choices.join(", ")));
        }
        let characters = || text.chars().count();
        if let Some(least) = self.shortest.filter(|least| characters() < *least) {
            return Err(format!("is shorter than {least} characters"));
        }
        if let Some(most) = self.longest.filter(|most| characters() > *most) {
            return Err(format!("is longer than {most} characters"));
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(text) => Err(format!("does not match {pattern}")),
            Some(_) | None => Ok(()),
        }
    }
}

fn length(keyword: &str, value: &Value) -> Result<usize, String> {
    let number = value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("`{keyword}` is not a length"))
}

/// What holds without a file: the reference's own `schema-image.json`.
fn shipped() -> Value {
    const KEYS: &str = "https://docs.openstack.org/python-glanceclient/latest/cli/\
                        property-keys.html";
    json!({
        "kernel_id": {
            "type": ["null", "string"],
            "pattern": UUID_PATTERN,
            "description": "ID of image stored in Glance that should be used as the kernel when \
                            booting an AMI-style image.",
        },
        "ramdisk_id": {
            "type": ["null", "string"],
            "pattern": UUID_PATTERN,
            "description": "ID of image stored in Glance that should be used as the ramdisk when \
                            booting an AMI-style image.",
        },
        "instance_uuid": {
            "type": "string",
            "description": "Metadata which can be used to record which instance this image is \
                            associated with. (Informational only, does not create an instance \
                            snapshot.)",
        },
        "architecture": {
            "type": "string",
            "description": format!("Operating system architecture as specified in {KEYS}"),
        },
        "os_distro": {
            "type": "string",
            "description": format!("Common name of operating system distribution as specified in \
                                    {KEYS}"),
        },
        "os_version": {
            "type": "string",
            "description": "Operating system version as specified by the distributor.",
        },
        "description": {
            "type": "string",
            "description": "A human-readable string describing this image.",
        },
        "cinder_encryption_key_id": {
            "type": "string",
            "description": "Identifier in the OpenStack Key Management Service for the encryption \
                            key for the Block Storage Service to use when mounting a volume \
                            created from this image",
        },
        "cinder_encryption_key_deletion_policy": {
            "type": "string",
            "description": "States the condition under which the Image Service will delete the \
                            object associated with the 'cinder_encryption_key_id' image property. \
                             If this property is missing, the Image Service will take no action",
            "enum": ["on_image_deletion", "do_not_delete"],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_definitions_are_valid() {
        let shipped = Properties::parse(shipped()).unwrap();
        assert_eq!(shipped.definitions.len(), 9);
        assert!(shipped.nullable("kernel_id") && !shipped.nullable("os_distro"));
        assert!(shipped.required.is_empty());
    }

    #[test]
    fn both_forms_of_the_file_are_read() {
        let flat = Properties::parse(json!({"team": {"type": "string"}})).unwrap();
        assert_eq!(
            Value::Object(flat.definitions),
            json!({"team": {"type": "string", "is_base": false}})
        );
        let long = json!({"properties": {"team": {}}, "required": ["team", "name"]});
        assert_eq!(Properties::parse(long).unwrap().required, ["team", "name"]);
    }

    #[test]
    fn values_are_held_against_their_definition() {
        let properties = Properties::parse(json!({
            "a": {"enum": ["x", null], "type": ["string", "null"]},
            "b": {"minLength": 2, "maxLength": 3},
            "c": {"pattern": "^[a-z]+$"},
            "d": {"type": ["string", "null"], "enum": ["x"]},
        }))
        .unwrap();
        for (name, text, taken) in [
            ("a", "x", true),
            ("a", "y", false),
            ("b", "é", false),
            ("b", "éé", true),
            ("b", "éééé", false),
            ("c", "abc", true),
            ("c", "a1", false),
            ("other", "", true),
        ] {
            assert_eq!(properties.check(name, text).is_ok(), taken, "{name} {text}");
        }
        assert!(properties.nullable("a"));
        assert!(
            ["b", "d", "other"]
                .iter()
                .all(|name| !properties.nullable(name))
        );
    }

    #[test]
    fn a_file_that_cannot_be_enforced_is_refused() {
        for (document, said) in [
            (json!([]), "not a JSON object"),
            (json!({"properties": []}), "`properties`"),
            (json!({"properties": {}, "required": "a"}), "`required`"),
            (json!({"properties": {}, "required": ["size"]}), "\"size\""),
            (json!({"properties": {}, "extra": 1}), "\"extra\""),
            (json!({"name": {}}), "\"name\""),
            (json!({"size": {}}), "\"size\""),
            (json!({"os_glance_x": {}}), "\"os_glance_x\""),
            (json!({"a": 1}), "\"a\": not a JSON object"),
            (json!({"a": {"type": "integer"}}), "`type`"),
            (json!({"a": {"type": "null"}}), "`type`"),
            (json!({"a": {"enum": []}}), "`enum`"),
            (json!({"a": {"enum": [1]}}), "`enum`"),
            (json!({"a": {"maxLength": -1}}), "`maxLength`"),
            (json!({"a": {"pattern": "("}}), "`pattern`"),
            (json!({"a": {"pattern": "(a{1000}){1000}"}}), "`pattern`"),
            (json!({"a": {"minimum": 1}}), "\"minimum\""),
        ] {
            let refusal = Properties::parse(document.clone()).unwrap_err();
            assert!(refusal.contains(said), "{document}: {refusal}");
        }
    }

    #[test]
    fn a_file_has_a_bound_and_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let padding = " ".repeat(FILE_BYTES as usize - 2);
        std::fs::write(&file, format!("{{}}{padding}")).unwrap();
        assert!(Properties::read(file.path()).is_ok());
        std::fs::write(&file, format!("{{}} {padding}")).unwrap();
        let refusal = Properties::read(file.path()).unwrap_err();
        assert!(
            refusal.starts_with(file.path().to_str().unwrap()),
            "{refusal}"
        );
        assert!(refusal.contains("longer"), "{refusal}");
    }
}
