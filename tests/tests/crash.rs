//! kill -9 at random points of a mixed load.
//!
//! Several tasks create, rename, tag, share, fill, (de)activate, read and delete images of their own
//! until the node dies under them; each knows what was acknowledged and which one call was under way. After the restart
//! every acknowledged write is there, the call under way happened as a whole or not at all, an image
//! whose upload was cut takes its data again, the store holds nothing that no image owns, and the
//! owner's quota counts the bytes that are there, to the byte.
//!
//! `GLIMPSE_KILL_ROUNDS` says how often, `GLIMPSE_CRASH_SEED` repeats the choices (not the timing).

#[path = "crash/imports.rs"]
mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use glimpse_tests::{Answer, Call, Client, Node, Random, Raw, Setup, eventually, md5_hex};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const TASKS: usize = 4;
/// Images that one task keeps at most.
const KEPT: usize = 12;
/// Bytes that the owner of all images may have; more than the tasks ever do.
const QUOTA: usize = 512 << 20;
const TAGS: [&str; 3] = ["red", "green", "blue"];
const PROJECTS: [&str; 3] = ["alpha", "beta", "gamma"];

/// What was acknowledged of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    name: String,
    tags: BTreeSet<String>,
    /// Projects and how they decided.
    members: BTreeMap<String, String>,
    deactivated: bool,
    data: Option<Bytes>,
}

/// The call under way when the node died.
#[derive(Debug, Clone)]
enum UnderWay {
    Create {
        id: String,
        name: String,
    },
    /// Of anything but its data.
    Change {
        id: String,
        after: Known,
    },
    Upload {
        id: String,
        data: Bytes,
    },
    Delete {
        id: String,
    },
}

/// One task's images.
struct Owner {
    random: Random,
    images: BTreeMap<String, Known>,
    deleted: Vec<String>,
    under_way: Option<UnderWay>,
    acknowledged: usize,
}

/// The node went away.
struct Died;

impl Owner {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            images: BTreeMap::new(),
            deleted: Vec::new(),
            under_way: None,
            acknowledged: 0,
        }
    }

    /// Works until the node dies.
    async fn work(mut self, client: Client) -> Self {
        while self.step(&client).await.is_ok() {
            self.acknowledged += 1;
        }
        self
    }

    async fn step(&mut self, client: &Client) -> Result<(), Died> {
        let any = self.any(|_| true);
        match (self.random.below(16), any) {
            (_, None) | (0..=1, _) if self.images.len() < KEPT => self.create(client).await,
            (_, None) => Ok(()),
            (0..=2, Some(id)) => self.delete(client, id).await,
            (3..=10, Some(id)) => self.change(client, id).await,
            (11..=13, Some(id)) => match self.any(|image| image.data.is_none()) {
                Some(queued) => self.upload(client, queued).await,
                None => self.read(client, id).await,
            },
            (_, Some(id)) => self.read(client, id).await,
        }
    }

    /// One of the images for which this holds.
    fn any(&mut self, holds: impl Fn(&Known) -> bool) -> Option<String> {
        let all: Vec<&String> = self
            .images
            .iter()
            .filter(|(_, image)| holds(image))
            .map(|(id, _)| id)
            .collect();
        (!all.is_empty()).then(|| (*self.random.pick(&all)).clone())
    }

    fn word(&mut self) -> String {
        format!("name-{}", self.random.below(1_000_000))
    }

    async fn create(&mut self, client: &Client) -> Result<(), Died> {
        let id = uuid::Builder::from_random_bytes(rand_bytes(&mut self.random)).into_uuid();
        let (id, name) = (id.to_string(), self.word());
        self.under_way = Some(UnderWay::Create {
            id: id.clone(),
            name: name.clone(),
        });
        create(client, &id, &name).await?.expect(201);
        let known = Known {
            name,
            ..Known::default()
        };
        self.images.insert(id, known);
        self.under_way = None;
        Ok(())
    }

    /// One change to the record or its members; the one call that makes it.
    async fn change(&mut self, client: &Client, id: String) -> Result<(), Died> {
        let path = format!("/v2/images/{id}");
        let mut after = self.images[&id].clone();
        let tag = (*self.random.pick(&TAGS)).to_owned();
        let project = (*self.random.pick(&PROJECTS)).to_owned();
        let (call, status): (Call, u16) = match self.random.below(8) {
            0..=2 => {
                after.name = self.word();
                let document = json!([{"op": "replace", "path": "/name", "value": after.name}]);
                let call = client
                    .call("PATCH", &path)
                    .header("content-type", glimpse_tests::PATCH_V21)
                    .body(document.to_string());
                (call, 200)
            }
            3..=4 if after.tags.remove(&tag) => {
                (client.call("DELETE", &format!("{path}/tags/{tag}")), 204)
            }
            3..=4 => {
                let call = client.call("PUT", &format!("{path}/tags/{tag}"));
                after.tags.insert(tag);
                (call, 204)
            }
            5..=6 => {
                let member = format!("{path}/members/{project}");
                match after.members.get_mut(&project) {
                    None => {
                        let body = json!({"member": project});
                        after.members.insert(project, "pending".to_owned());
                        let call = client.call("POST", &format!("{path}/members"));
                        (call.json(&body), 200)
                    }
                    Some(status) if status == "pending" => {
                        "accepted".clone_into(status);
                        let body = json!({"status": "accepted"});
                        (client.call("PUT", &member).json(&body), 200)
                    }
                    Some(_) => {
                        after.members.remove(&project);
                        (client.call("DELETE", &member), 204)
                    }
                }
            }
            _ => {
                let action = if after.deactivated {
                    "reactivate"
                } else {
                    "deactivate"
                };
                let call = client.call("POST", &format!("{path}/actions/{action}"));
                if after.data.is_some() {
                    after.deactivated = !after.deactivated;
                    (call, 204)
                } else {
                    (call, 403)
                }
            }
        };
        self.under_way = Some(UnderWay::Change {
            id: id.clone(),
            after: after.clone(),
        });
        call.attempt().await.map_err(|_| Died)?.expect(status);
        self.images.insert(id, after);
        self.under_way = None;
        Ok(())
    }

    async fn upload(&mut self, client: &Client, id: String) -> Result<(), Died> {
        let largest = if self.random.one_in(8) {
            4 << 20
        } else {
            300_000
        };
        let length = self.random.below(largest);
        let data = self.random.bytes(length);
        self.under_way = Some(UnderWay::Upload {
            id: id.clone(),
            data: data.clone(),
        });
        client
            .file(&id)
            .body(data.clone())
            .attempt()
            .await
            .map_err(|_| Died)?
            .expect(204);
        self.images.get_mut(&id).unwrap().data = Some(data);
        self.under_way = None;
        Ok(())
    }

    async fn delete(&mut self, client: &Client, id: String) -> Result<(), Died> {
        self.under_way = Some(UnderWay::Delete { id: id.clone() });
        let call = client.call("DELETE", &format!("/v2/images/{id}"));
        call.attempt().await.map_err(|_| Died)?.expect(204);
        self.images.remove(&id);
        self.deleted.push(id);
        self.under_way = None;
        Ok(())
    }

    /// The whole, or a range of it.
    async fn read(&mut self, client: &Client, id: String) -> Result<(), Died> {
        let mut call = client.call("GET", &format!("/v2/images/{id}/file"));
        let Some(data) = &self.images[&id].data else {
            call.attempt().await.map_err(|_| Died)?.expect(204);
            return Ok(());
        };
        let (mut status, mut wanted) = (200, data.clone());
        if !data.is_empty() && self.random.one_in(2) {
            let from = self.random.below(data.len());
            let to = from + self.random.below(data.len() - from);
            call = call.header("range", &format!("bytes={from}-{to}"));
            (status, wanted) = (206, data.slice(from..=to));
        }
        let answer = call.attempt().await.map_err(|_| Died)?;
        assert!(answer.expect(status).body == wanted, "{id}: other bytes");
        Ok(())
    }

    /// After the restart: settles the call under way, then checks every image.
    async fn check(&mut self, client: &Client) {
        if let Some(call) = self.under_way.take() {
            self.settle(client, call).await;
        }
        for (id, known) in &self.images {
            same(client, id, known).await;
        }
        if let Some(id) = self.any(|image| image.data.is_some()) {
            let data = self.images[&id].data.clone();
            assert!(
                Some(client.download(&id).await.expect(200).body) == data,
                "{id}: other bytes"
            );
        }
        let from = self.deleted.len().saturating_sub(5);
        for id in &self.deleted[from..] {
            client.show(id).await.expect(404);
            create(client, id, "again")
                .await
                .ok()
                .expect("an answer")
                .expect(409);
        }
    }

    async fn settle(&mut self, client: &Client, call: UnderWay) {
        match call {
            UnderWay::Create { id, name } => {
                if client.show(&id).await.status == 404 {
                    create(client, &id, &name)
                        .await
                        .ok()
                        .expect("an answer")
                        .expect(201);
                }
                let known = Known {
                    name,
                    ..Known::default()
                };
                self.images.insert(id, known);
            }
            UnderWay::Change { id, after } => {
                let before = &self.images[&id];
                let shown = observed(client, &id, before).await;
                assert!(
                    shown == *before || shown == after,
                    "{id} is {shown:?}\nand was {before:?}\nor {after:?}"
                );
                self.images.insert(id, shown);
            }
            UnderWay::Delete { id } => match client.show(&id).await.status {
                404 => {
                    self.images.remove(&id);
                    self.deleted.push(id);
                }
                status => assert_eq!(status, 200),
            },
            UnderWay::Upload { id, data } => {
                let status = eventually("the cut upload to be settled", async || {
                    let status = client.show(&id).await.expect(200).field("status");
                    (status != "saving").then_some(status)
                })
                .await;
                if status == "queued" {
                    same(client, &id, &self.images[&id]).await;
                    client.download(&id).await.expect(204);
                    client.upload(&id, data.clone()).await.expect(204);
                }
                assert!(
                    client.download(&id).await.expect(200).body == data,
                    "{id}: other bytes"
                );
                self.images.get_mut(&id).unwrap().data = Some(data);
            }
        }
    }
}

async fn create(client: &Client, id: &str, name: &str) -> Result<Answer, Died> {
    let body = json!({"id": id, "name": name, "disk_format": "ami", "container_format": "bare"});
    client
        .call("POST", "/v2/images")
        .json(&body)
        .attempt()
        .await
        .map_err(|_| Died)
}

/// The image as it is shown now. Its data must be that of `known`.
async fn observed(client: &Client, id: &str, known: &Known) -> Known {
    let image = client.show(id).await.expect(200).json();
    let (status, size, checksum) = match &known.data {
        Some(data) => ("active", json!(data.len()), json!(md5_hex(data))),
        None => ("queued", Value::Null, Value::Null),
    };
    let deactivated = known.data.is_some() && image["status"] == "deactivated";
    assert!(image["status"] == status || deactivated, "{image}");
    assert_eq!(image["size"], size, "{image}");
    assert_eq!(image["checksum"], checksum, "{image}");
    assert_eq!(
        image["os_hash_value"].is_null(),
        known.data.is_none(),
        "{image}"
    );
    let members = client.get(&format!("/v2/images/{id}/members")).await;
    let members = members.expect(200).json();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let rows = members["members"].as_array().expect("members").iter();
    Known {
        name: text(&image["name"]),
        tags: image["tags"]
            .as_array()
            .expect("tags")
            .iter()
            .map(text)
            .collect(),
        members: rows
            .map(|row| (text(&row["member_id"]), text(&row["status"])))
            .collect(),
        deactivated,
        data: known.data.clone(),
    }
}

/// The image shows exactly what was acknowledged.
async fn same(client: &Client, id: &str, known: &Known) {
    assert_eq!(observed(client, id, known).await, *known, "{id}");
}

/// The owner's quota has as much room as the images leave of it, to the byte.
async fn check_quota(node: &Node, owners: &[Owner]) {
    let client = node.client();
    let all = owners.iter().flat_map(|owner| owner.images.values());
    let used: usize = all
        .filter_map(|image| image.data.as_ref().map(Bytes::len))
        .sum();
    let (status, head) = declared_upload(node, &client, QUOTA - used + 1).await;
    assert!(head.contains(" 413 "), "{status}, {head}: {used} in use");
    let (status, head) = declared_upload(node, &client, QUOTA - used).await;
    assert_eq!(status, "saving", "{head}: {used} in use");
}

/// Begins an upload of so many bytes to an image that is then deleted; says what status the image
/// got, or how the upload was refused.
async fn declared_upload(node: &Node, client: &Client, length: usize) -> (String, String) {
    let id = client.created(json!({})).await;
    let mut upload = Raw::connect(&node.address()).await;
    upload
        .send(format!(
            "PUT /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
             content-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    // 100 when bytes are wanted, which is after they were reserved.
    let head = upload.head().await.expect("an answer");
    let status = client.show(&id).await.expect(200).field("status");
    drop(upload);
    client.reaches(&id, "queued").await;
    client.remove(&id).await.expect(204);
    (status, head)
}

fn rand_bytes(random: &mut Random) -> [u8; 16] {
    random.bytes(16)[..].try_into().expect("16 bytes")
}

/// The listing and the store know of exactly these images.
async fn check_whole(node: &Node, owners: &[Owner]) {
    let all = || owners.iter().flat_map(|owner| &owner.images);
    let mut ids: Vec<String> = all().map(|(id, _)| id.clone()).collect();
    ids.sort();
    assert_eq!(node.client().list_all("sort=id:asc&limit=10").await, ids);
    let mut wanted: Vec<String> = all()
        .filter(|(_, image)| image.data.is_some())
        .map(|(id, _)| id.clone())
        .collect();
    wanted.sort();
    eventually("no orphan in the store", async || {
        let mut files: Vec<String> = node
            .stored_files()
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        files.sort();
        (files == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_kills_at_random_points() {
    let rounds: usize =
        std::env::var("GLIMPSE_KILL_ROUNDS").map_or(5, |text| text.parse().expect("a number"));
    let mut random = Random::from_env("GLIMPSE_CRASH_SEED");
    let mut node = Setup::new()
        .set("limits.user_storage_quota", format!("{QUOTA}B"))
        .start()
        .await;
    let seed = random.seed;
    let mut owners: Vec<Owner> = (0..TASKS)
        .map(|task| Owner::new(seed.wrapping_add(task as u64)))
        .collect();
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let client = node.client();
        let work: Vec<JoinHandle<Owner>> = owners
            .drain(..)
            .map(|owner| tokio::spawn(owner.work(client.clone())))
            .collect();
        tokio::time::sleep(Duration::from_micros(random.below(120_000) as u64)).await;
        node.kill();
        for task in work {
            owners.push(task.await.expect("a task failed"));
        }
        if random.one_in(10) {
            let after = Duration::from_micros(random.below(100_000) as u64);
            node.restart_cut_short(after).await;
        }
        let start = Instant::now();
        node.restart().await;
        slowest = slowest.max(start.elapsed());
        let client = node.client();
        for owner in &mut owners {
            owner.check(&client).await;
        }
        if round % 10 == 9 || round + 1 == rounds {
            check_quota(&node, &owners).await;
            check_whole(&node, &owners).await;
        }
    }
    let acknowledged: usize = owners.iter().map(|owner| owner.acknowledged).sum();
    println!("{rounds} kills, {acknowledged} acknowledged calls, slowest restart {slowest:?}");
    assert!(
        acknowledged > rounds,
        "hardly anything was done between the kills"
    );
}
