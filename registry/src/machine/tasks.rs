//! Commands of tasks: begin with the lock of the image, claim, step, end, cancel, expire.
//!
//! The lock is what makes an import safe: while a task holds it, nobody else writes under the image's
//! key in any store. A task of an image that was deleted stays open until its process has removed what
//! it put, as an upload does.

use std::sync::Arc;

use super::{Change, Draft, StateView, Step as Stepped, Usage, charged, uploads::check_storage};
use crate::{
    command::UploadedData,
    image::{Image, ImageId, Timestamp},
    outcome::{Outcome, Rejection},
    status::Status,
    task::{
        ImageChange, Import, NewTask, Progress, Run, Source, Staged, Step, Task, TaskCommand,
        TaskId, TaskStatus,
    },
};

impl<V: StateView> Draft<'_, V> {
    pub(super) fn task(&mut self, id: TaskId, command: &TaskCommand) -> Stepped {
        match command {
            TaskCommand::Begin {
                image,
                task,
                quota,
                steal_after,
                most,
            } => {
                if self.counters.open_tasks >= *most {
                    return Err(Rejection::TooManyTasks.into());
                }
                self.begin_task(id, *image, task, *quota, *steal_after)
            }
            TaskCommand::Claim {
                node,
                incarnation,
                lease_until,
            } => self.claim_task(id, *node, *incarnation, *lease_until),
            TaskCommand::Step {
                incarnation,
                lease_until,
                step,
            } => self.step_task(id, *incarnation, *lease_until, step),
            TaskCommand::End {
                incarnation,
                success,
                message,
            } => self.end_task(id, *incarnation, *success, message),
            TaskCommand::Cancel => {
                let before = self.open_task(id)?;
                let mut after = before.clone();
                after.run.cancelled = true;
                Ok(self.put_task(Some(before), after))
            }
            TaskCommand::Expire => {
                match self.view.task(id)? {
                    Some(task) if task.expires_at.is_some_and(|at| at <= self.now) => {
                        self.changes.push(Change::RemoveTask(Box::new(task)));
                    }
                    Some(_) | None => {}
                }
                Ok(Outcome::Done)
            }
        }
    }

    fn begin_task(
        &mut self,
        id: TaskId,
        image: ImageId,
        new: &NewTask,
        quota: Option<u64>,
        steal_after: u64,
    ) -> Stepped {
        let before = self.image(image)?;
        if self.view.task(id)?.is_some() {
            return Err(Rejection::IdTaken.into());
        }
        let plan = &new.plan;
        let copies = plan.source == Source::Store;
        let mut import = before.import.as_deref().cloned().unwrap_or_default();
        let staged = import.staged.as_ref();
        let (expected, size) = match &plan.source {
            Source::Staged => (Status::Uploading, staged.map_or(0, |s| s.manifest.length)),
            Source::Store => (Status::Active, before.size.unwrap_or(0)),
            Source::Web { .. } | Source::Region { .. } => (Status::Queued, 0),
        };
        // Uploading, but not at its end.
        let missing = plan.source == Source::Staged && staged.is_none();
        if before.status != expected || missing {
            return Err(Rejection::ForbiddenMove {
                from: before.status,
                to: Status::Importing,
            }
            .into());
        }
        let attributes = &before.attributes;
        if attributes.disk_format.is_none() || attributes.container_format.is_none() {
            return Err(Rejection::FormatsUnset.into());
        }
        let holds = |store: &String| before.locations.iter().any(|l| l.store == *store);
        if let Some(store) = plan.stores.iter().find(|store| holds(store)) {
            return Err(Rejection::StoreHolds(store.clone()).into());
        }
        let (stolen, released) = self.steal(&mut import, steal_after)?;
        let owner = attributes.owner.clone();
        let stores = u64::try_from(plan.stores.len()).unwrap_or(u64::MAX);
        let reserved = size.saturating_mul(stores);
        let freed = staged_charge(&before).saturating_add(match &stolen {
            Some(old) if old.run.owner == owner => released,
            Some(_) | None => 0,
        });
        let usage = self.view.usage(owner.as_deref())?;
        check_storage(used(usage).saturating_sub(freed), reserved, quota)?;
        self.put_usage(owner.as_deref(), |usage| {
            usage.reserved = usage
                .reserved
                .saturating_sub(freed)
                .saturating_add(reserved);
        })?;
        if let Some(old) = &stolen
            && old.run.owner != owner
        {
            self.put_usage(old.run.owner.as_deref(), |usage| {
                usage.reserved = usage.reserved.saturating_sub(released);
            })?;
        }
        import.task = Some(id);
        import.progress = Some(Progress {
            importing: plan.stores.clone(),
            failed: Vec::new(),
        });
        let after = Image {
            status: match copies {
                true => before.status,
                false => Status::Importing,
            },
            import: Some(Box::new(import)),
            ..Image::clone(&before)
        };
        self.put_image(before, after)?;
        let task = Task {
            id,
            sequence: self.index,
            image,
            made: new.clone(),
            status: TaskStatus::Pending,
            message: String::new(),
            created_at: self.now,
            updated_at: self.now,
            expires_at: None,
            run: Run {
                reserved,
                owner,
                ..Run::default()
            },
        };
        Ok(self.put_task(None, task))
    }

    /// Frees the lock of a task that gives no sign of life, and ends that task; gives it back with the
    /// bytes that it had reserved.
    fn steal(&mut self, import: &mut Import, after: u64) -> Stepped<(Option<Task>, u64)> {
        let Some(holder) = import.task else {
            return Ok((None, 0));
        };
        let Some(old) = self.view.task(holder)? else {
            return Ok((None, 0));
        };
        let patience = match old.status {
            TaskStatus::Pending => after.saturating_mul(2),
            TaskStatus::Processing | TaskStatus::Success | TaskStatus::Failure => after,
        };
        if self.now.0.saturating_sub(old.updated_at.0) < patience {
            return Err(Rejection::ImportLocked.into());
        }
        let released = old.run.reserved;
        let mut ended = old.clone();
        ended.run.reserved = 0;
        self.close(
            &mut ended,
            false,
            "The lock of the image was taken by another task.",
        );
        self.put_task(Some(old.clone()), ended);
        Ok((Some(old), released))
    }

    fn claim_task(
        &mut self,
        id: TaskId,
        node: u64,
        incarnation: u128,
        lease_until: Timestamp,
    ) -> Stepped {
        let before = self.open_task(id)?;
        let run = &before.run;
        let elsewhere = run.incarnation != 0 && run.node != node;
        if elsewhere && self.now <= run.lease_until {
            return Err(Rejection::TaskLost.into());
        }
        let mut after = before.clone();
        after.status = TaskStatus::Processing;
        after.updated_at = self.now;
        after.run.node = node;
        after.run.incarnation = incarnation;
        after.run.lease_until = lease_until;
        Ok(self.put_task(Some(before), after))
    }

    fn step_task(
        &mut self,
        id: TaskId,
        incarnation: u128,
        lease_until: Timestamp,
        step: &Step,
    ) -> Stepped {
        let before = self.own_task(id, incarnation)?;
        if before.run.cancelled {
            return Err(Rejection::TaskCancelled.into());
        }
        let image = self.image(before.image)?;
        let mut after = before.clone();
        after.updated_at = self.now;
        after.run.lease_until = after.run.lease_until.max(lease_until);
        match step {
            Step::Progress { message } => after.message.clone_from(message),
            Step::Staged {
                staged,
                plugins,
                change,
                quota,
            } => {
                after.run.plugins = *plugins;
                self.staged(&mut after, image, staged.as_ref(), change, *quota)?;
            }
            Step::Stored { data } => self.stored(&mut after, image, data)?,
            Step::StoreFailed { store } if before.run.failed.contains(store) => {}
            Step::StoreFailed { store } => {
                after.run.failed.push(store.clone());
                let mut changed = Image::clone(&image);
                let progress = progress(&mut changed);
                progress.importing.retain(|other| other != store);
                progress.failed.push(store.clone());
                self.put_image(image, changed)?;
            }
        }
        Ok(self.put_task(Some(before), after))
    }

    fn staged(
        &mut self,
        task: &mut Task,
        before: Arc<Image>,
        staged: Option<&Staged>,
        change: &ImageChange,
        quota: Option<u64>,
    ) -> Stepped<()> {
        let mut after = Image::clone(&before);
        if let Some(staged) = staged {
            let size = staged.manifest.length;
            let stores = u64::try_from(task.remaining().count()).unwrap_or(u64::MAX);
            let (old, reserved) = (task.run.reserved, size.saturating_mul(stores));
            let owner = task.run.owner.clone();
            let usage = self.view.usage(owner.as_deref())?;
            check_storage(used(usage).saturating_sub(old), reserved, quota)?;
            self.put_usage(owner.as_deref(), |usage| {
                usage.reserved = usage.reserved.saturating_sub(old).saturating_add(reserved);
            })?;
            task.run.reserved = reserved;
            import(&mut after).staged = Some(staged.clone());
            if after.status == Status::Importing {
                after.size = Some(size);
            }
        }
        // An active image keeps what it says of its data.
        if after.status == Status::Importing {
            let attributes = &mut after.attributes;
            attributes.disk_format = change.disk_format.clone().or(attributes.disk_format.take());
            let container = change.container_format.clone();
            attributes.container_format = container.or(attributes.container_format.take());
            let properties = change.properties.iter();
            attributes
                .properties
                .extend(properties.map(|(key, value)| (key.clone(), Some(value.clone()))));
        }
        self.put_image(before, after)?;
        Ok(())
    }

    fn stored(&mut self, task: &mut Task, before: Arc<Image>, data: &UploadedData) -> Stepped<()> {
        let store = &data.location.store;
        // Told twice, since the first answer was lost.
        if task.run.done.contains(store) {
            return Ok(());
        }
        let mut after = Image::clone(&before);
        progress(&mut after)
            .importing
            .retain(|other| other != store);
        task.run.done.push(store.clone());
        if task.made.plan.must_succeed {
            task.run.held.push(data.clone());
        } else {
            add_data(&mut after, data);
            let more = charged(&after).saturating_sub(charged(&before));
            let freed = more.min(task.run.reserved);
            task.run.reserved -= freed;
            let owner = after.attributes.owner.clone();
            self.move_usage(task.run.owner.clone(), freed, owner, more)?;
        }
        self.put_image(before, after)?;
        Ok(())
    }

    /// Takes bytes from what one owner has reserved, and counts bytes as another's data.
    fn move_usage(
        &mut self,
        from: Option<String>,
        freed: u64,
        to: Option<String>,
        live: u64,
    ) -> Stepped<()> {
        if from != to {
            self.put_usage(from.as_deref(), |usage| {
                usage.reserved = usage.reserved.saturating_sub(freed);
            })?;
        }
        let freed = if from == to { freed } else { 0 };
        self.put_usage(to.as_deref(), |usage| {
            usage.reserved = usage.reserved.saturating_sub(freed);
            usage.live = usage.live.saturating_add(live);
        })
    }

    fn end_task(&mut self, id: TaskId, incarnation: u128, success: bool, message: &str) -> Stepped {
        let before = self.own_task(id, incarnation)?;
        if success && before.run.cancelled {
            return Err(Rejection::TaskCancelled.into());
        }
        let mut after = before.clone();
        let held = std::mem::take(&mut after.run.held);
        let reserved = std::mem::take(&mut after.run.reserved);
        self.close(&mut after, success, message);
        let image = self.view.image(before.image)?;
        let Some(image) = image.filter(|image| holder(image) == Some(id)) else {
            if success {
                return Err(Rejection::ImageNotFound.into());
            }
            self.put_usage(before.run.owner.as_deref(), |usage| {
                usage.reserved = usage.reserved.saturating_sub(reserved);
            })?;
            return Ok(self.put_task(Some(before), after));
        };
        let mut changed = Image::clone(&image);
        let import = import(&mut changed);
        import.task = None;
        import.staged = None;
        import.failure = (!success).then(|| message.to_owned());
        let progress = import.progress.get_or_insert_default();
        progress.importing.clear();
        if success {
            for data in &held {
                add_data(&mut changed, data);
            }
        }
        match (changed.status, success) {
            (Status::Importing, true) => {
                let (from, to) = (Status::Importing, Status::Active);
                return Err(Rejection::ForbiddenMove { from, to }.into());
            }
            (Status::Importing, false) => {
                changed.status = Status::Queued;
                changed.size = None;
                changed.virtual_size = None;
            }
            _ => {}
        }
        let more = charged(&changed).saturating_sub(charged(&image));
        let owner = changed.attributes.owner.clone();
        self.move_usage(before.run.owner.clone(), reserved, owner, more)?;
        self.put_image(image, changed)?;
        Ok(self.put_task(Some(before), after))
    }

    /// Ends the record.
    fn close(&self, task: &mut Task, success: bool, message: &str) {
        task.status = match success {
            true => TaskStatus::Success,
            false => TaskStatus::Failure,
        };
        message.clone_into(&mut task.message);
        task.updated_at = self.now;
        task.expires_at = Some(Timestamp(self.now.0.saturating_add(task.made.plan.keep)));
    }

    fn open_task(&self, id: TaskId) -> Stepped<Task> {
        match self.view.task(id)? {
            Some(task) if task.is_open() => Ok(task),
            Some(_) => Err(Rejection::TaskEnded.into()),
            None => Err(Rejection::TaskNotFound.into()),
        }
    }

    /// The task, if it is this process' and open.
    fn own_task(&self, id: TaskId, incarnation: u128) -> Stepped<Task> {
        match self.view.task(id)? {
            Some(task) if task.is_open() && task.run.incarnation == incarnation => Ok(task),
            Some(_) | None => Err(Rejection::TaskLost.into()),
        }
    }

    fn put_task(&mut self, before: Option<Task>, after: Task) -> Outcome {
        let open = |task: &Task| u64::from(task.is_open());
        let was = before.as_ref().map_or(0, open);
        let counters = &mut self.counters;
        counters.open_tasks = counters
            .open_tasks
            .saturating_add(open(&after))
            .saturating_sub(was);
        self.changes.push(Change::PutTask {
            before: before.map(Box::new),
            after: Box::new(after.clone()),
        });
        Outcome::Task(Box::new(after))
    }
}

/// The task that holds the image.
fn holder(image: &Image) -> Option<TaskId> {
    image.import.as_ref().and_then(|import| import.task)
}

/// Gives the image data in one more store; it is active from the first on.
fn add_data(image: &mut Image, data: &UploadedData) {
    if image.locations.is_empty() {
        image.size = Some(data.size);
        image.virtual_size = data.virtual_size;
        image.checksum = Some(data.checksum.clone());
        image.os_hash_algo = Some(data.os_hash_algo.clone());
        image.os_hash_value = Some(data.os_hash_value.clone());
        image.manifest = Some(data.manifest);
    }
    image.locations.push(data.location.clone());
    if image.status == Status::Importing {
        image.status = Status::Active;
    }
}

fn import(image: &mut Image) -> &mut Import {
    image.import.get_or_insert_default()
}

fn progress(image: &mut Image) -> &mut Progress {
    import(image).progress.get_or_insert_default()
}

/// Bytes of staged data that count as reserved by the image's owner. Once a task has it, the task
/// counts them.
pub(super) fn staged_charge(image: &Image) -> u64 {
    match image.import.as_deref() {
        Some(Import {
            task: None,
            staged: Some(staged),
            ..
        }) => staged.manifest.length,
        Some(_) | None => 0,
    }
}

fn used(usage: Usage) -> u64 {
    usage.live.saturating_add(usage.reserved)
}
