//! One call: chosen at random, said over HTTP.

use glimpse_tests::{Answer, Client, Random};
use serde_json::{Value, json};

use crate::{PROJECTS, rules::Rules};

/// Tags, property keys and values, few so that steps meet each other.
const WORDS: [&str; 5] = ["red", "green", "blue", "black", "white"];
/// Property keys.
const KEYS: [&str; 4] = ["color", "shape", "hw_disk_bus", "weight"];
/// What `visibility` may be.
const VISIBILITIES: [&str; 4] = ["public", "private", "shared", "community"];

/// One call of the Image API. Images are named by id, known or not.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Create {
        body: Value,
    },
    Show {
        id: String,
    },
    Patch {
        id: String,
        operations: Vec<Operation>,
        /// `If-Match`
        tag: Option<String>,
    },
    Delete {
        id: String,
        /// `If-Match`
        tag: Option<String>,
    },
    Upload {
        id: String,
        data: Vec<u8>,
    },
    Download {
        id: String,
        range: Option<(usize, usize)>,
    },
    Tag {
        id: String,
        tag: String,
    },
    Untag {
        id: String,
        tag: String,
    },
    Share {
        id: String,
        project: String,
    },
    Unshare {
        id: String,
        project: String,
    },
    Decide {
        id: String,
        project: String,
        status: String,
    },
    Members {
        id: String,
    },
    Deactivate {
        id: String,
    },
    Reactivate {
        id: String,
    },
    List(Listing),
}

/// What a list asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    /// All of them must match.
    pub(crate) filters: Vec<(String, String)>,
    /// A key and whether it ascends; `None`: as the service has it.
    pub(crate) sort: Option<(&'static str, bool)>,
    pub(crate) marker: Option<String>,
    pub(crate) limit: usize,
}

impl Listing {
    /// What stands under a key; of several the first.
    pub(crate) fn asked(&self, key: &str) -> Option<&str> {
        let mut pairs = self.filters.iter();
        let (_, value) = pairs.find(|(name, _)| name == key)?;
        Some(value)
    }
}

/// One operation of a PATCH.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) op: &'static str,
    pub(crate) key: String,
    pub(crate) value: Value,
}

impl Step {
    /// Any call, more often one that can succeed.
    pub(crate) fn random(random: &mut Random, rules: &Rules) -> Self {
        let known = rules.ids();
        let id = if known.is_empty() || random.one_in(30) {
            uuid::Uuid::from_u128(random.below(1_000_000) as u128).to_string()
        } else {
            // The latest images, so that sequences on one image come about.
            let from = known.len().saturating_sub(8);
            known[from + random.below(known.len() - from)].clone()
        };
        let word = (*random.pick(&WORDS)).to_owned();
        let project = (*random.pick(&PROJECTS)).to_owned();
        match random.below(30) {
            0..=3 => Self::Create {
                body: new_image(random, &known),
            },
            4..=6 => Self::Show { id },
            7..=10 => {
                // What was read before may be changed on the strength of it, seldom a stranger.
                let read: Vec<&String> = known
                    .iter()
                    .rev()
                    .take(8)
                    .filter(|id| !rules.tags_seen(id).is_empty())
                    .collect();
                let id = if read.is_empty() || random.one_in(2) {
                    id
                } else {
                    (*random.pick(&read)).clone()
                };
                let tag = tag(random, rules, &id);
                // What can hardly be refused, so that the tag decides.
                let name = |random: &mut Random| Operation {
                    op: "replace",
                    key: "name".to_owned(),
                    value: json!(random.pick(&WORDS)),
                };
                let operations = if tag.is_some() && random.one_in(2) {
                    vec![name(random)]
                } else {
                    let count = 1 + random.below(3);
                    (0..count).map(|_| operation(random)).collect()
                };
                Self::Patch {
                    id,
                    operations,
                    tag,
                }
            }
            11..=12 => Self::Delete {
                tag: tag(random, rules, &id),
                id,
            },
            13..=15 => {
                let length = random.below(30_000);
                let mut data = random.bytes(length).to_vec();
                // Or else one in 65,536 would be taken for a partition table and refused.
                if let Some(byte) = data.get_mut(510) {
                    *byte = 0;
                }
                Self::Upload { id, data }
            }
            16..=17 => {
                let from = random.below(30_000);
                let range = random.one_in(2).then(|| (from, from + random.below(5000)));
                Self::Download { id, range }
            }
            18 => Self::Tag { id, tag: word },
            19 => Self::Untag { id, tag: word },
            20..=21 => Self::Share { id, project },
            22 => Self::Unshare { id, project },
            23 => {
                let status = (*random.pick(&["accepted", "rejected", "pending"])).to_owned();
                Self::Decide {
                    id,
                    project,
                    status,
                }
            }
            24 => Self::Members { id },
            25 => Self::Deactivate { id },
            26 => Self::Reactivate { id },
            _ => Self::List(listing(random, rules, id)),
        }
    }

    /// Says it.
    pub(crate) async fn call(&self, client: &Client) -> Answer {
        match self {
            Self::Create { body } => client.create(body.clone()).await,
            Self::Show { id } => client.show(id).await,
            Self::Patch {
                id,
                operations,
                tag,
            } => {
                let operations: Vec<Value> = operations
                    .iter()
                    .map(|one| {
                        let path = format!("/{}", one.key);
                        if one.op == "remove" {
                            json!({"op": one.op, "path": path})
                        } else {
                            json!({"op": one.op, "path": path, "value": one.value})
                        }
                    })
                    .collect();
                let client = if_match(client, tag.as_ref());
                client.patch(id, Value::Array(operations)).await
            }
            Self::Delete { id, tag } => if_match(client, tag.as_ref()).remove(id).await,
            Self::Upload { id, data } => client.upload(id, data.clone()).await,
            Self::Download { id, range: None } => client.download(id).await,
            Self::Download {
                id,
                range: Some((from, to)),
            } => client.range(id, &format!("bytes={from}-{to}")).await,
            Self::Tag { id, tag } => client.tag(id, tag).await,
            Self::Untag { id, tag } => client.delete(&format!("/v2/images/{id}/tags/{tag}")).await,
            Self::Share { id, project } => client.share(id, project).await,
            Self::Unshare { id, project } => {
                client
                    .delete(&format!("/v2/images/{id}/members/{project}"))
                    .await
            }
            Self::Decide {
                id,
                project,
                status,
            } => client.decide(id, project, status).await,
            Self::Members { id } => client.get(&format!("/v2/images/{id}/members")).await,
            Self::Deactivate { id } => client.act(id, "deactivate").await,
            Self::Reactivate { id } => client.act(id, "reactivate").await,
            Self::List(listing) => {
                let mut query = format!("limit={}", listing.limit);
                for (key, value) in &listing.filters {
                    query = format!("{query}&{key}={value}");
                }
                if let Some((key, ascending)) = listing.sort {
                    let direction = if ascending { "asc" } else { "desc" };
                    query = format!("{query}&sort={key}:{direction}");
                }
                if let Some(marker) = &listing.marker {
                    query = format!("{query}&marker={marker}");
                }
                client.list(&query).await
            }
        }
    }
}

fn if_match(client: &Client, tag: Option<&String>) -> Client {
    match tag {
        Some(tag) => client.with("if-match", tag),
        None => client.clone(),
    }
}

/// None, or a tag that was seen of this image: the last one mostly, or an earlier one.
fn tag(random: &mut Random, rules: &Rules, id: &str) -> Option<String> {
    let seen = rules.tags_seen(id);
    if seen.is_empty() || random.one_in(4) {
        return None;
    }
    if random.one_in(3) {
        Some(random.pick(seen).clone())
    } else {
        seen.last().cloned()
    }
}

fn new_image(random: &mut Random, known: &[String]) -> Value {
    let mut body = json!({});
    if random.one_in(4) {
        let id = if random.one_in(2) && !known.is_empty() {
            random.pick(known).clone()
        } else {
            uuid::Uuid::from_u128(random.below(1_000_000_000) as u128).to_string()
        };
        body["id"] = json!(id);
    }
    if !random.one_in(3) {
        body["name"] = json!(random.pick(&WORDS));
    }
    if !random.one_in(4) {
        body["disk_format"] = json!("raw");
        body["container_format"] = json!("bare");
    }
    if random.one_in(2) {
        body["visibility"] = json!(random.pick(&VISIBILITIES));
    }
    if random.one_in(6) {
        body["protected"] = json!(true);
    }
    if random.one_in(6) {
        body["os_hidden"] = json!(true);
    }
    if random.one_in(8) {
        body["owner"] = owner(random);
    }
    for _ in 0..random.below(6) {
        body[*random.pick(&KEYS)] = json!(random.pick(&WORDS));
    }
    if random.one_in(2) {
        let tags: Vec<&str> = (0..random.below(8)).map(|_| *random.pick(&WORDS)).collect();
        body["tags"] = json!(tags);
    }
    body
}

/// A project, or nobody.
fn owner(random: &mut Random) -> Value {
    if random.one_in(3) {
        Value::Null
    } else {
        json!(random.pick(&PROJECTS))
    }
}

fn operation(random: &mut Random) -> Operation {
    let (key, value) = match random.below(12) {
        0 => ("name", json!(random.pick(&WORDS))),
        1 | 2 => ("visibility", json!(random.pick(&VISIBILITIES))),
        3 => ("protected", json!(random.one_in(2))),
        4 => ("os_hidden", json!(random.one_in(2))),
        5 => ("min_ram", json!(random.below(4))),
        6 => ("owner", owner(random)),
        7 => {
            let tags: Vec<&str> = (0..random.below(8)).map(|_| *random.pick(&WORDS)).collect();
            ("tags", json!(tags))
        }
        8 => ("status", json!("active")),
        _ => (*random.pick(&KEYS), json!(random.pick(&WORDS))),
    };
    let op = *random.pick(&["add", "replace", "replace", "remove"]);
    Operation {
        op,
        key: key.to_owned(),
        value,
    }
}

fn listing(random: &mut Random, rules: &Rules, id: String) -> Listing {
    let keys = ["id", "name", "status", "size", "disk_format", "created_at"];
    let mut filters: Vec<(String, String)> = Vec::new();
    for _ in 0..random.below(4) {
        let (key, value) = filter(random, rules, &id);
        // A key counts once, but for tags.
        if key == "tag" || filters.iter().all(|(known, _)| *known != key) {
            filters.push((key, value));
        }
    }
    Listing {
        filters,
        sort: (!random.one_in(4)).then(|| (*random.pick(&keys), random.one_in(2))),
        marker: random.one_in(3).then_some(id),
        limit: random.below(9),
    }
}

fn filter(random: &mut Random, rules: &Rules, id: &str) -> (String, String) {
    let word = (*random.pick(&WORDS)).to_owned();
    let (key, value) = match random.below(15) {
        0 => ("name", word),
        12 => ("name", format!("in:{word},{}", random.pick(&WORDS))),
        13 => {
            let status = *random.pick(&["in:queued,active", "in:deactivated,saving", "eq:active"]);
            ("status", status.to_owned())
        }
        14 => {
            let operator = *random.pick(&["", "eq:", "neq:", "lt:", "lte:", "gt:", "gte:"]);
            let time = rules.created_at(id).unwrap_or("2026-01-31T23:59:59Z");
            ("created_at", format!("{operator}{time}"))
        }
        1 | 2 => ("tag", word),
        3 | 4 => (*random.pick(&KEYS), word),
        5 => (
            "status",
            (*random.pick(&["queued", "active", "deactivated"])).to_owned(),
        ),
        6 => ("owner", (*random.pick(&PROJECTS)).to_owned()),
        7 => (
            "visibility",
            (*random.pick(&[&VISIBILITIES[..], &["all"]].concat())).to_owned(),
        ),
        8 => ("os_hidden", "true".to_owned()),
        9 => {
            let status = *random.pick(&["accepted", "rejected", "pending", "all"]);
            ("member_status", status.to_owned())
        }
        10 => ("size_min", random.below(30_000).to_string()),
        _ => ("protected", (*random.pick(&["true", "false"])).to_owned()),
    };
    (key.to_owned(), value)
}
