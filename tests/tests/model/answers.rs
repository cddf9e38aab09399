//! Whether an answer is the one that the rules want.

use std::collections::BTreeSet;

use glimpse_tests::{Answer, md5_hex, sha512_hex};
use serde_json::{Value, json};

use super::{Body, Image, Rules, Wanted};

impl Wanted {
    /// Tells the first difference between the answer and what it had to be.
    pub(crate) fn compare(&self, answer: &Answer, rules: &Rules) -> Result<(), String> {
        if !self.statuses.contains(&answer.status) {
            return Err(format!("the model wants {:?}", self.statuses));
        }
        if !(200..300).contains(&answer.status) {
            return Ok(());
        }
        match &self.body {
            Body::Any => Ok(()),
            Body::Image(id) => {
                let id = if id.is_empty() {
                    answer.field("id")
                } else {
                    id.clone()
                };
                rules
                    .images
                    .get(&id)
                    .ok_or("no such image")?
                    .compare(&answer.json())
            }
            Body::Bytes(bytes) if answer.body == bytes[..] => Ok(()),
            Body::Bytes(bytes) => Err(format!("other bytes than the {} uploaded", bytes.len())),
            Body::Ids { ids, next } => {
                if &answer.ids("images") != ids {
                    return Err(format!("the model lists {ids:?}"));
                }
                let has_next = answer.json().get("next").is_some();
                if *next == has_next {
                    Ok(())
                } else {
                    Err(format!("next is there: {has_next}"))
                }
            }
            Body::Members(rows) => {
                let json = answer.json();
                let shown = json["members"].as_array().ok_or("no members")?;
                let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("").to_owned();
                let mut shown: Vec<(String, String)> = shown
                    .iter()
                    .map(|row| (text(row, "member_id"), text(row, "status")))
                    .collect();
                shown.sort();
                if &shown == rows {
                    Ok(())
                } else {
                    Err(format!("the model has {rows:?}"))
                }
            }
        }
    }
}

impl Image {
    /// Tells the first field in which an image as shown differs.
    pub(crate) fn compare(&self, shown: &Value) -> Result<(), String> {
        let data = self.data.as_deref();
        let mut wanted = json!({
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "visibility": self.visibility,
            "owner": self.owner,
            "created_at": self.created_at,
            "protected": self.protected,
            "os_hidden": self.os_hidden,
            "disk_format": if self.formats { json!("raw") } else { Value::Null },
            "container_format": if self.formats { json!("bare") } else { Value::Null },
            "min_disk": 0,
            "min_ram": self.min_ram,
            "size": data.map(<[u8]>::len),
            "virtual_size": data.map(<[u8]>::len),
            "checksum": data.map(md5_hex),
            "os_hash_algo": data.map(|_| "sha512"),
            "os_hash_value": data.map(sha512_hex),
            "self": format!("/v2/images/{}", self.id),
            "file": format!("/v2/images/{}/file", self.id),
            "schema": "/v2/schemas/image",
        });
        for (key, value) in &self.properties {
            wanted[key] = json!(value);
        }
        let mut shown = shown.as_object().cloned().ok_or("not an object")?;
        let tags = shown.remove("tags").unwrap_or_default();
        let tags: BTreeSet<String> = serde_json::from_value(tags).map_err(|e| e.to_string())?;
        if tags != self.tags {
            return Err(format!("the model has the tags {:?}", self.tags));
        }
        for moving in ["updated_at", "stores"] {
            shown.remove(moving);
        }
        for (key, value) in wanted.as_object().into_iter().flatten() {
            if shown.remove(key).as_ref() != Some(value) {
                return Err(format!("the model has {key} = {value}"));
            }
        }
        match shown.keys().next() {
            Some(extra) => Err(format!("the model knows no {extra}")),
            None => Ok(()),
        }
    }
}
