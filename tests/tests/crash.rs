//! kill -9 at random points of a mixed load.
//!
//! Several tasks create, change, fill, read and delete images of their own until the node dies
//! under them; each knows what was acknowledged and which one call was under way. After the restart
//! every acknowledged write is there, the call under way happened as a whole or not at all, an image
//! whose upload was cut takes its data again, and the store holds nothing that no image owns.
//!
//! `GLIMPSE_KILL_ROUNDS` says how often, `GLIMPSE_CRASH_SEED` repeats the choices (not the timing).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use glimpse_tests::{Answer, Client, Node, Random, Setup, eventually, md5_hex};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const TASKS: usize = 4;
/// Images that one task keeps at most.
const KEPT: usize = 12;

/// What was acknowledged of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    name: String,
    data: Option<Bytes>,
}

/// The call under way when the node died.
#[derive(Debug, Clone)]
enum UnderWay {
    Create { id: String, name: String },
    Rename { id: String, name: String },
    Upload { id: String, data: Bytes },
    Delete { id: String },
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
        match (self.random.below(10), any) {
            (_, None) | (0..=1, _) if self.images.len() < KEPT => self.create(client).await,
            (_, None) => Ok(()),
            (0..=2, Some(id)) => self.delete(client, id).await,
            (3..=4, Some(id)) => self.rename(client, id).await,
            (5..=7, Some(id)) => match self.any(|image| image.data.is_none()) {
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
        self.images.insert(id, Known { name, data: None });
        self.under_way = None;
        Ok(())
    }

    async fn rename(&mut self, client: &Client, id: String) -> Result<(), Died> {
        let name = self.word();
        self.under_way = Some(UnderWay::Rename {
            id: id.clone(),
            name: name.clone(),
        });
        let document = json!([{"op": "replace", "path": "/name", "value": name}]);
        let call = client
            .call("PATCH", &format!("/v2/images/{id}"))
            .header("content-type", glimpse_tests::PATCH_V21)
            .body(document.to_string());
        call.attempt().await.map_err(|_| Died)?.expect(200);
        self.images.get_mut(&id).unwrap().name = name;
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

    async fn read(&mut self, client: &Client, id: String) -> Result<(), Died> {
        let call = client.call("GET", &format!("/v2/images/{id}/file"));
        let answer = call.attempt().await.map_err(|_| Died)?;
        match &self.images[&id].data {
            Some(data) => assert!(answer.expect(200).body == data, "{id}: other bytes"),
            None => drop(answer.expect(204)),
        }
        Ok(())
    }

    /// After the restart: settles the call under way, then checks every image.
    async fn check(&mut self, client: &Client) {
        if let Some(call) = self.under_way.take() {
            self.settle(client, call).await;
        }
        for (id, known) in &self.images {
            same(&client.show(id).await.expect(200), known);
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
                self.images.insert(id, Known { name, data: None });
            }
            UnderWay::Rename { id, name } => {
                let shown = client.show(&id).await.expect(200).field("name");
                let known = self.images.get_mut(&id).unwrap();
                assert!(
                    shown == name || shown == known.name,
                    "{id} is named {shown}"
                );
                known.name = shown;
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
                    same(&client.show(&id).await.expect(200), &self.images[&id]);
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

/// Whether the image shows exactly what was acknowledged.
#[track_caller]
fn same(shown: &Answer, known: &Known) {
    let image = shown.json();
    assert_eq!(image["name"], known.name, "{image}");
    let (status, size, checksum) = match &known.data {
        Some(data) => ("active", json!(data.len()), json!(md5_hex(data))),
        None => ("queued", Value::Null, Value::Null),
    };
    assert_eq!(image["status"], status, "{image}");
    assert_eq!(image["size"], size, "{image}");
    assert_eq!(image["checksum"], checksum, "{image}");
    assert_eq!(
        image["os_hash_value"].is_null(),
        known.data.is_none(),
        "{image}"
    );
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
    let mut node = Setup::new().start().await;
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
