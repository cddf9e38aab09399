//! One object being written: blocks go to the disk while the next one fills, and the name comes
//! last.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{runtime::Handle, task::JoinHandle};

use super::{
    Config, TEMPORARY,
    calls::Calls,
    disk::{Disk, File},
};
use crate::{
    Result, StoreError, Stored, Write,
    buffer::{BLOCK, Block, DIRECT_ALIGNMENT},
};

/// Runs of zeros of this many bytes become holes when provisioning is thin.
const HOLE: usize = 64 << 10;
/// Temporary files that may be lost to a cleaner before their lock; one at a time runs.
const CREATE_ATTEMPTS: u32 = 10;
static ZEROS: [u8; HOLE] = [0; HOLE];

/// A file that is removed when this is dropped, unless it was published. It travels through the blocking
/// calls, so that whatever is cancelled or times out midway, the file goes as well.
struct Unkept {
    disk: Arc<dyn Disk>,
    name: Option<String>,
}

impl Unkept {
    /// Gives the file its own name. From then on it is no longer removed with this: whoever holds
    /// the key may have removed it meanwhile, and another object may lie there.
    fn publish(&mut self, key: &str) -> io::Result<()> {
        if let Some(name) = &self.name {
            self.disk.rename(name, key)?;
            self.name = None;
        }
        Ok(())
    }

    fn remove(mut self) -> io::Result<()> {
        match self.name.take() {
            Some(name) => self.disk.remove(&name),
            None => Ok(()),
        }
    }

    /// Removes it at once if what it was for failed.
    fn unless_failed(self, result: io::Result<()>) -> io::Result<Self> {
        match result {
            Ok(()) => Ok(self),
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.remove();
                Err(error)
            }
        }
    }
}

/// Tells the blocking part of a finish that its caller waits no longer, once this is dropped.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for Unkept {
    fn drop(&mut self) {
        let Some(name) = self.name.take() else {
            return;
        };
        let disk = Arc::clone(&self.disk);
        let remove = move || {
            if let Err(error) = disk.remove(&name) {
                tracing::warn!(%error, name, "an unfinished object was left behind");
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// The room that a write leaves free on the file system for others.
#[derive(Clone)]
struct Room {
    disk: Arc<dyn Disk>,
    keep_free: u64,
    /// Whether each block is checked before it is written.
    by_block: bool,
}

impl Room {
    /// Fails if so many bytes more would leave too little.
    fn check(&self, more: u64) -> io::Result<()> {
        if self.disk.free()? < self.keep_free.saturating_add(more) {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        Ok(())
    }

    fn check_block(&self, block: &[u8]) -> io::Result<()> {
        match self.by_block {
            true => self.check(block.len() as u64),
            false => Ok(()),
        }
    }
}

/// What one call writes.
enum Run {
    /// Collected here.
    Collected(Block),
    /// Written from where it lies.
    Given(Bytes),
}

impl Run {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Collected(block) => block.as_slice(),
            Self::Given(data) => data,
        }
    }

    /// Whether direct writes take the data as it lies and go on behind it.
    fn fits_direct(data: &Bytes) -> bool {
        data.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT)
            && data.len().is_multiple_of(DIRECT_ALIGNMENT)
    }
}

/// An object of the `file` store being written.
pub(super) struct FileWrite {
    calls: Calls,
    file: Arc<dyn File>,
    temporary: Unkept,
    key: String,
    url: String,
    declared: Option<u64>,
    thin: bool,
    room: Room,
    /// The block that is filling, and its place in the file.
    block: Block,
    offset: u64,
    /// What came before, on its way to the disk.
    writing: Option<JoinHandle<Result<Run>>>,
    /// Bytes taken.
    size: u64,
    /// A run was lost to an error or a cancelled call; there is no way on.
    broken: bool,
}

impl FileWrite {
    pub(super) async fn begin(
        disk: Arc<dyn Disk>,
        calls: Calls,
        config: &Config,
        key: &str,
        url: String,
        declared: Option<u64>,
    ) -> Result<Self> {
        let thin = config.thin_provisioning;
        let (mode, object) = (config.file_mode, key.to_owned());
        let keep_free = config.keep_free;
        let room = Room {
            disk: Arc::clone(&disk),
            keep_free,
            // Room that was allocated is taken already.
            by_block: keep_free > 0 && (thin || declared.is_none()),
        };
        let room_at_first = room.clone();
        let (file, temporary) = calls
            .run(move || {
                // A courtesy: the name is taken only at the end, and refused there.
                match disk.open(&object, false) {
                    Ok(_) => return Err(rustix::io::Errno::EXIST.into()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                if keep_free > 0 {
                    room_at_first.check(declared.unwrap_or(0))?;
                }
                let direct = declared.is_none_or(|size| size >= BLOCK as u64);
                let (file, name) = create(&*disk, &object, direct)?;
                let name = Some(name);
                let temporary = Unkept { disk, name };
                let prepare = || {
                    if let Some(mode) = mode {
                        file.set_mode(mode)?;
                    }
                    match declared.filter(|&size| size > 0 && !thin) {
                        Some(size) => file.allocate(size),
                        None => Ok(()),
                    }
                };
                let prepared = prepare();
                Ok((file, temporary.unless_failed(prepared)?))
            })
            .await
            .map_err(gone_away)?;
        Ok(Self {
            calls,
            file,
            temporary,
            key: key.to_owned(),
            url,
            declared,
            thin,
            room,
            block: Block::new(BLOCK),
            offset: 0,
            writing: None,
            size: 0,
            broken: false,
        })
    }

    /// Sends `given`, or else the filled block, on its way, once the run before has ended.
    async fn send(&mut self, given: Option<Bytes>) -> Result<()> {
        self.broken = true;
        let mut free = match self.writing.take() {
            Some(writing) => match written(writing).await? {
                Run::Collected(block) => block,
                Run::Given(_) => Block::new(BLOCK),
            },
            None => Block::new(BLOCK),
        };
        free.clear();
        let run = match given {
            Some(data) => Run::Given(data),
            None => Run::Collected(std::mem::replace(&mut self.block, free)),
        };
        let (calls, file) = (self.calls.clone(), Arc::clone(&self.file));
        let (offset, thin) = (self.offset, self.thin);
        let room = self.room.clone();
        self.offset += run.as_slice().len() as u64;
        self.writing = Some(tokio::spawn(async move {
            let call = calls.run(move || {
                room.check_block(run.as_slice())?;
                write_block(&*file, offset, run.as_slice(), thin)?;
                Ok(run)
            });
            call.await.map_err(gone_away)
        }));
        self.broken = false;
        Ok(())
    }

    fn check_usable(&self) -> Result<()> {
        if self.broken {
            let text = "an earlier write of this object failed";
            return Err(StoreError::Unavailable(text.into()));
        }
        Ok(())
    }

    fn wrong_size(&self) -> StoreError {
        let declared = self.declared.unwrap_or_default();
        let text = format!("{} bytes came, {declared} were declared", self.size);
        StoreError::Damaged(text)
    }
}

#[async_trait]
impl Write for FileWrite {
    async fn write(&mut self, mut data: Bytes) -> Result<()> {
        self.check_usable()?;
        self.size = self.size.saturating_add(data.len() as u64);
        if self.declared.is_some_and(|declared| self.size > declared) {
            self.broken = true;
            return Err(self.wrong_size());
        }
        while !data.is_empty() {
            if self.block.is_full() {
                self.send(None).await?;
            }
            if self.block.is_empty() && Run::fits_direct(&data) {
                return self.send(Some(data)).await;
            }
            self.block.fill(&mut data);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Stored> {
        let last = async {
            self.check_usable()?;
            if self.declared.is_some_and(|declared| self.size != declared) {
                return Err(self.wrong_size());
            }
            match self.writing.take() {
                Some(writing) => written(writing).await.map(drop),
                None => Ok(()),
            }
        };
        if let Err(error) = last.await {
            // The first error is the one to tell.
            let _ = self.abort().await;
            return Err(error);
        }
        let this = *self;
        let (file, block, offset) = (this.file, this.block, this.offset);
        let (key, size, thin, room) = (this.key, this.size, this.thin, this.room);
        let mut object = this.temporary;
        let waiting = Waiting::default();
        let abandoned = Arc::clone(&waiting.0);
        let finish = this.calls.run(move || {
            let publish = |object: &mut Unkept| {
                room.check_block(block.as_slice())?;
                write_block(&*file, offset, block.as_slice(), thin)?;
                if thin {
                    // A hole at the end.
                    file.set_size(size)?;
                }
                file.sync()?;
                // Timed out or cancelled: the key may be another's by now.
                if abandoned.load(Ordering::Acquire) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                object.publish(&key)?;
                object.disk.sync()
            };
            let published = publish(&mut object);
            object.unless_failed(published).map(drop)
        });
        let finished = finish.await.map_err(gone_away);
        drop(waiting);
        finished?;
        let url = this.url;
        Ok(Stored { url, size })
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let _ = written(writing).await;
        }
        let temporary = self.temporary;
        self.calls.run(move || temporary.remove()).await
    }
}

/// Makes and locks a temporary file, under another name when a cleaner was quicker than the lock.
fn create(disk: &dyn Disk, key: &str, direct: bool) -> io::Result<(Arc<dyn File>, String)> {
    let mut attempts = 0;
    loop {
        let name = format!("{TEMPORARY}{key}-{:016x}", rand::random::<u64>());
        match disk.create(&name, direct) {
            Ok(file) => return Ok((file, name)),
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && attempts < CREATE_ATTEMPTS =>
            {
                attempts += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn written(writing: JoinHandle<Result<Run>>) -> Result<Run> {
    let ended = writing.await;
    ended.unwrap_or_else(|_| Err(StoreError::Unavailable("a write did not end".into())))
}

/// A file that vanishes while it is written is no "not found" to the one who writes it.
fn gone_away(error: StoreError) -> StoreError {
    if matches!(error, StoreError::NotFound) {
        return StoreError::Unavailable("the store's directory or file has gone".into());
    }
    error
}

/// Writes a block, or of a thin one the stretches that are not zeros.
fn write_block(file: &dyn File, offset: u64, block: &[u8], thin: bool) -> io::Result<()> {
    if !thin {
        return file.write_at(offset, block);
    }
    let is_zero = |part: &[u8]| ZEROS.get(..part.len()) == Some(part);
    let mut at = offset;
    let parts: Vec<&[u8]> = block.chunks(HOLE).collect();
    let mut rest = block;
    for run in parts.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let len = run.iter().map(|part| part.len()).sum();
        let (data, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        if !run.first().is_some_and(|part| is_zero(part)) {
            file.write_at(at, data)?;
        }
        at += len as u64;
        rest = after;
    }
    Ok(())
}
