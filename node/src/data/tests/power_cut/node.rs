//! One process of a node: how it starts, what it is asked, and what must hold after its start.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all};
use glimpse_cache::ManifestName;
use glimpse_registry::{
    Registry,
    image::{ImageId, Visibility},
    status::Status,
    store::{Remember, Store as Tables},
};
use glimpse_replication::{Seams, testing::HostClock, transport::NoPeers};
use glimpse_store::file::FileStore;
use http_body_util::BodyExt;
use tempfile::TempDir;

use super::{
    super::rig::{self, Rig, fed, named_store, open},
    Machine,
    power::{self, Power},
    script::{Action, Data, Fact, Known, Script},
};
use crate::{api::error::ApiError, config::Config, workers::Worker};

/// What reapers found to do after power cuts.
#[derive(Debug, Default)]
pub(super) struct Reaped {
    pub(super) uploads: u64,
    pub(super) objects: u64,
}

impl Reaped {
    pub(super) fn add(&mut self, other: &Self) {
        self.uploads += other.uploads;
        self.objects += other.objects;
    }
}

/// A process while it lives.
pub(super) struct Life {
    rig: Rig,
    power: Arc<Power>,
    known: Known,
}

/// The power is off: what comes next is for the next process.
struct Off;

impl Life {
    /// Starts on what the disks hold; `None` if the power goes before it runs.
    pub(super) fn begin(machine: &mut Machine, power: &Arc<Power>) -> Option<Self> {
        let mut config = rig::config();
        config.limits.user_storage_quota = Some(1 << 30);
        let dir = machine.dir.take().unwrap();
        let registry = match start(machine, power, &dir, &config) {
            Ok(registry) => registry,
            Err(error) => {
                assert!(power.is_off(), "it does not start: {error}");
                machine.dir = Some(dir);
                return None;
            }
        };
        // Only the store can tell what the store has.
        drop(std::fs::remove_dir_all(dir.path().join("cache")));
        let images = Arc::new(power::images(power, &machine.images));
        let images = FileStore::with_disk(glimpse_store::file::Config::new("/images"), images);
        let images = named_store("local", Arc::new(images));
        Some(Self {
            rig: Rig::assemble(dir, config, registry, images, 4 << 20),
            power: Arc::clone(power),
            known: std::mem::take(&mut machine.known),
        })
    }

    /// What is handed on to the next one.
    pub(super) fn end(self, machine: &mut Machine) {
        let counters = &self.rig.app.data.counters;
        machine.reaped.uploads += counters.uploads_reaped.get();
        machine.reaped.objects += counters.objects_reaped.get();
        // Whatever an upload leaves has a row, and whatever a deletion leaves is in the queue.
        assert_eq!(counters.orphans_reaped.get(), 0, "an orphan");
        machine.known = self.known;
        machine.dir = Some(self.rig.dir);
    }

    /// Puts things in order, looks at everything, and works through the script; with the power gone
    /// it never returns.
    pub(super) async fn live(&self, script: &Script) {
        if let Err(Off) = self.work(script).await {
            // Nothing happens any more; whoever waits for the end of the power sees it.
            std::future::pending::<()>().await;
        }
    }

    async fn work(&self, script: &Script) -> Result<(), Off> {
        let mut reaper = self.rig.reaper();
        // An orphan is removed when it is seen again.
        for _ in 0..3 {
            self.answered("the reaper", reaper.step().await)?;
        }
        drop(reaper);
        self.check().await?;
        for id in self.known.queued().into_iter().take(2) {
            self.act(Action::Upload(id, Data::again(id))).await?;
        }
        // With its usual grace, beside uploads: without one it would take their manifests.
        let mut reaper = crate::workers::reaper::Reaper::new(
            Arc::clone(&self.rig.app),
            crate::config::ReaperConfig::default(),
        );
        for wave in script.waves(&self.known) {
            let acts = join_all(wave.into_iter().map(|action| self.act(action)));
            let (acts, step) = tokio::join!(acts, reaper.step());
            acts.into_iter().collect::<Result<(), Off>>()?;
            self.answered("the reaper", step)?;
        }
        Ok(())
    }

    /// An error is in order only without power.
    fn answered<T, E: std::fmt::Display>(
        &self,
        what: &str,
        result: Result<T, E>,
    ) -> Result<T, Off> {
        match result {
            Ok(done) if !self.power.is_off() => Ok(done),
            Ok(_) => Err(Off),
            Err(error) => {
                assert!(self.power.is_off(), "{what}: {error}");
                Err(Off)
            }
        }
    }

    async fn act(&self, action: Action) -> Result<(), Off> {
        let registry = &self.rig.app.registry;
        match action {
            Action::Create(id) => {
                self.known.may_be(id, Fact::Queued);
                let mut attributes = rig::attributes("p", Visibility::Private);
                attributes.container_format = Some("bare".to_owned());
                let made = registry.create_image(id, attributes).await;
                self.acknowledged(id, Fact::Queued, made)
            }
            Action::Upload(id, data) => {
                self.known.may_be(id, Fact::Active(data));
                let put = self.rig.put(id, data.bytes()).await;
                self.acknowledged(id, Fact::Active(data), put.map_err(text))
            }
            Action::Refused(id) => {
                let mut qcow2 = vec![0; 5000];
                qcow2[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
                // It names a backing file.
                qcow2[15] = 1;
                self.refused(self.rig.put(id, Bytes::from(qcow2)).await, 415)
            }
            Action::Cut(id, data) => {
                let (sender, body) = fed();
                let feeding = async {
                    drop(sender.send(data.bytes()).await);
                    drop(sender);
                };
                let (put, ()) = tokio::join!(self.rig.put(id, body), feeding);
                self.refused(put, 400)
            }
            Action::Overtaken(id, data) => {
                let (sender, body) = open();
                let overtaking = async {
                    drop(sender.send(data.bytes()).await);
                    loop {
                        let view = self.answered("reading", registry.read().await)?;
                        let image = view.image(id).map_err(|error| error.to_string());
                        let image = self.answered("reading", image)?;
                        if image.is_some_and(|image| image.status == Status::Saving) {
                            break;
                        }
                    }
                    let deleted = self.delete(id).await;
                    drop(sender);
                    deleted
                };
                let (put, deleted) = tokio::join!(self.rig.put(id, body), overtaking);
                deleted?;
                self.refused(put, 410)
            }
            Action::Delete(id) => self.delete(id).await,
        }
    }

    async fn delete(&self, id: ImageId) -> Result<(), Off> {
        self.known.may_be(id, Fact::Absent);
        let deleted = self.rig.app.registry.delete_image(id, None).await;
        self.acknowledged(id, Fact::Absent, deleted)
    }

    /// What was answered holds, whatever becomes of the power.
    fn acknowledged<T, E: std::fmt::Display>(
        &self,
        id: ImageId,
        fact: Fact,
        answer: Result<T, E>,
    ) -> Result<(), Off> {
        if answer.is_ok() {
            self.known.is(id, fact);
        }
        self.answered("a call", answer.map(drop))
    }

    fn refused<T>(&self, answer: Result<T, ApiError>, status: u16) -> Result<(), Off> {
        let Err(error) = answer else {
            panic!("what must be refused was accepted")
        };
        if error.status.as_u16() == status {
            return Ok(());
        }
        self.answered("a refusal", Err(text(error)))
    }

    /// Everything that was acknowledged is there, and nothing else.
    async fn check(&self) -> Result<(), Off> {
        let app = &self.rig.app;
        let view = self.answered("reading", app.registry.read().await)?;
        let mut live = 0;
        let (mut objects, mut manifests) = (BTreeSet::new(), BTreeSet::new());
        for id in self.known.ids() {
            let image = self.answered("an image", view.image(id))?;
            if let Fact::Active(data) = self.known.settle(id, image.as_deref()) {
                let manifest = image.as_ref().and_then(|image| image.manifest);
                manifests.insert(ManifestName(manifest.expect("it has one").name));
                objects.insert((id.to_string(), data.size()));
                live += data.size();
                self.read_back(id, data).await?;
            }
        }
        let uploads = self.answered("uploads", view.uploads(None, 10))?;
        assert_eq!(uploads, [], "uploads that nobody ends");
        let pending = self.answered("deletions", view.pending_deletes(0, 10))?;
        assert_eq!(pending, [], "deleted data that nobody removes");
        let usage = self.answered("usage", view.usage("p"))?;
        assert_eq!(usage, (live, 0));
        drop(view);

        let listing = self.answered("the store", self.rig.store().list().await)?;
        let listed: Vec<_> = self.answered("the store", listing.try_collect().await)?;
        let found: BTreeSet<_> = listed.into_iter().map(|one| (one.key, one.size)).collect();
        assert_eq!(found, objects, "in the store, and of active images");
        // A real directory, which has no power to lose.
        let bodies = app.manifests.list(None, 1000).unwrap();
        let bodies: BTreeSet<_> = bodies.into_iter().map(|(name, _)| name).collect();
        assert_eq!(bodies, manifests, "manifests held, and of active images");
        Ok(())
    }

    /// The data is what was uploaded, chunk by chunk as the manifest has it.
    async fn read_back(&self, id: ImageId, data: Data) -> Result<(), Off> {
        let got = self.rig.get(id, &[]).await.map_err(text);
        let got = self.answered("a download", got)?;
        let body = self.answered("a download", got.into_body().collect().await)?;
        assert!(body.to_bytes() == data.bytes(), "{id}: other data");
        Ok(())
    }
}

fn start(
    machine: &Machine,
    power: &Arc<Power>,
    dir: &TempDir,
    config: &Config,
) -> Result<Registry, glimpse_registry::OpenError> {
    let tables = power::registry(power, &machine.tables);
    let mut registry = rig::registry_config(dir, config);
    // Some of each in every life.
    registry.replication.checkpoint_bytes = 6 << 10;
    registry.replication.segment_bytes = 16 << 10;
    let tables = Tables::open_on(&tables, "tables.redb", 1 << 20, Remember::STANDARD)?;
    let seams = Seams {
        clock: Arc::new(HostClock::default()),
        seed: 1,
        disk: Arc::new(power::registry(power, &machine.log)),
        transport: Box::new(NoPeers),
    };
    Registry::start(registry, seams, tables)
}

fn text(error: ApiError) -> String {
    format!("{} {}", error.status, error.message)
}
