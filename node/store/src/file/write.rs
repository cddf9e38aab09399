//! One object being written: blocks go to the disk while the next one fills, and the name comes
//! last.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::Errno;
use tokio::{runtime::Handle, task::JoinHandle};

use super::{
    Config, TEMPORARY,
    calls::Calls,
    disk::{Disk, File},
    room::Room,
};
use crate::{
    Result, StoreError, Stored, Write,
    buffer::{BLOCK, Block, DIRECT_ALIGNMENT},
};

/// Runs of zeros of this many bytes become holes when provisioning is thin.
const HOLE: usize = 64 << 10;
/// Bytes that are allocated ahead of those that come.
const ALLOCATE_AHEAD: u64 = 64 << 20;
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

/// How a run is written, and what room it needs first.
struct Place {
    offset: u64,
    thin: bool,
    /// To be allocated.
    ahead: Option<Range<u64>>,
    /// Whether its own bytes are to be looked for.
    checked: bool,
}

impl Place {
    fn write(&self, file: &dyn File, room: &Room, run: &[u8]) -> io::Result<()> {
        if self.checked {
            room.check(run.len() as u64)?;
        }
        if let Some(ahead) = &self.ahead {
            let len = ahead.end.saturating_sub(ahead.start);
            if room.is_kept() {
                room.check(len)?;
            }
            file.allocate(ahead.start, len)?;
        }
        write_block(file, self.offset, run, self.thin)
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
    room: Arc<Room>,
    /// Where what is allocated ends.
    allocated: u64,
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
        room: Arc<Room>,
        key: &str,
        url: String,
        declared: Option<u64>,
    ) -> Result<Self> {
        let thin = config.thin_provisioning;
        let (mode, object) = (config.file_mode, key.to_owned());
        let path = config.path.join(key);
        let room_at_first = Arc::clone(&room);
        let (file, temporary) = calls
            .run(move || {
                // A courtesy: the name is taken only at the end, and refused there.
                match disk.open(&object, false) {
                    Ok(_) => return Err(Errno::EXIST.into()),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error)
                        if matches!(StoreError::from_io(&error), StoreError::BadLocation) =>
                    {
                        let file = path.display();
                        tracing::error!(%file, "not a file: nothing can be uploaded under this name");
                        return Err(Errno::EXIST.into());
                    }
                    Err(error) => return Err(error),
                }
                // A courtesy, too: the bytes are not yet to be taken from anybody.
                let whole = declared.filter(|_| !thin || room_at_first.is_kept());
                if whole.is_some() || room_at_first.is_kept() {
                    room_at_first.note(room_at_first.check(whole.unwrap_or(0)))?;
                }
                let direct = declared.is_none_or(|size| size >= BLOCK as u64);
                let (file, name) = create(&*disk, &object, direct)?;
                let name = Some(name);
                let temporary = Unkept { disk, name };
                let prepared = mode.map_or(Ok(()), |mode| file.set_mode(mode));
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
            allocated: 0,
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
        let (place, room) = (self.place(run.as_slice().len()), Arc::clone(&self.room));
        self.writing = Some(tokio::spawn(async move {
            let call = calls.run(move || {
                room.note(place.write(&*file, &room, run.as_slice()))?;
                Ok(run)
            });
            call.await.map_err(gone_away)
        }));
        self.broken = false;
        Ok(())
    }

    /// Where the next `len` bytes go.
    ///
    /// Room is allocated as the bytes come, some way ahead of them, so that a large object is not
    /// scattered, and one that was only announced takes none.
    fn place(&mut self, len: usize) -> Place {
        let offset = self.offset;
        self.offset += len as u64;
        let whole = self.declared.filter(|_| !self.thin);
        let ahead = whole.filter(|_| self.offset > self.allocated).map(|size| {
            let step = self.allocated.saturating_add(ALLOCATE_AHEAD);
            let start = std::mem::replace(&mut self.allocated, size.min(step.max(self.offset)));
            start..self.allocated
        });
        Place {
            offset,
            thin: self.thin,
            ahead,
            checked: whole.is_none() && self.room.is_kept(),
        }
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
        let mut this = *self;
        let place = this.place(this.block.as_slice().len());
        let (file, block, room) = (this.file, this.block, this.room);
        let (key, size, thin) = (this.key, this.size, this.thin);
        let mut object = this.temporary;
        let waiting = Waiting::default();
        let abandoned = Arc::clone(&waiting.0);
        let finish = this.calls.run(move || {
            let publish = |object: &mut Unkept| {
                room.note(place.write(&*file, &room, block.as_slice()))?;
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
