//! The right to upload or to download: the node bounds both at once, in all and for each project,
//! so that one project with slow clients cannot take every slot.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{AuthMode, Config};

/// The slots for transfers in one direction.
#[derive(Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    bound: usize,
    /// Of one project; 0: no such bound.
    per_project: usize,
    /// Transfers of each project; projects without one are not in it.
    projects: Mutex<HashMap<String, usize>>,
}

/// The right to one transfer, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// Where projects are bounded.
    project: Option<String>,
    _one: OwnedSemaphorePermit,
}

/// There is none left: 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// By all.
    Node,
    /// By the project.
    Project,
}

impl Slots {
    /// Those for uploads (`limits.concurrent_uploads`, `_per_project`).
    pub fn for_uploads(config: &Config) -> Arc<Self> {
        let limits = &config.limits;
        let (all, project) = (
            limits.concurrent_uploads,
            limits.concurrent_uploads_per_project,
        );
        Self::new(config.auth.mode, all, project)
    }

    /// Those for downloads (`limits.concurrent_downloads`, `_per_project`).
    pub fn for_downloads(config: &Config) -> Arc<Self> {
        let limits = &config.limits;
        let (all, project) = (
            limits.concurrent_downloads,
            limits.concurrent_downloads_per_project,
        );
        Self::new(config.auth.mode, all, project)
    }

    /// All of them free. Where every caller is of one project (`auth.mode = "none"`) a bound for
    /// each protects nobody, and does not count.
    fn new(mode: AuthMode, bound: usize, per_project: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(bound.min(Semaphore::MAX_PERMITS))),
            bound,
            per_project: match mode {
                AuthMode::None => 0,
                AuthMode::Keystone | AuthMode::TrustedHeaders => per_project,
            },
            projects: Mutex::default(),
        })
    }

    /// Transfers in progress.
    pub fn running(&self) -> usize {
        self.bound.saturating_sub(self.free.available_permits())
    }

    /// One for a caller of this project. Callers without a project share.
    pub fn take(self: &Arc<Self>, project: Option<&str>) -> Result<Slot, Taken> {
        let one = Arc::clone(&self.free)
            .try_acquire_owned()
            .map_err(|_| Taken::Node)?;
        let project = (self.per_project != 0).then(|| project.unwrap_or_default().to_owned());
        if let Some(project) = &project {
            let mut projects = self.projects.lock();
            let running = projects.get(project).copied().unwrap_or(0);
            if running >= self.per_project {
                return Err(Taken::Project);
            }
            projects.insert(project.clone(), running + 1);
        }
        Ok(Slot {
            slots: Arc::clone(self),
            project,
            _one: one,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(project) = &self.project else {
            return;
        };
        let mut projects = self.slots.projects.lock();
        match projects.get_mut(project) {
            Some(running) if *running > 1 => *running -= 1,
            _ => drop(projects.remove(project)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_project_cannot_take_every_slot() {
        let slots = Slots::new(AuthMode::TrustedHeaders, 4, 2);
        let mut held: Vec<_> = (0..2).map(|_| slots.take(Some("p")).unwrap()).collect();
        assert_eq!(slots.take(Some("p")).err(), Some(Taken::Project));
        // The refused one holds nothing.
        assert_eq!(slots.running(), 2);
        held.extend([slots.take(Some("q")).unwrap(), slots.take(None).unwrap()]);
        assert_eq!(slots.take(Some("r")).err(), Some(Taken::Node));
        drop(held);
        assert_eq!(slots.running(), 0);
        assert!(slots.projects.lock().is_empty());
        assert!(slots.take(Some("p")).is_ok());
    }

    #[test]
    fn where_all_are_one_project_only_the_bound_on_all_counts() {
        for slots in [
            Slots::new(AuthMode::None, 4, 2),
            Slots::new(AuthMode::TrustedHeaders, 4, 0),
        ] {
            let all: Vec<_> = (0..4).map(|_| slots.take(Some("p")).unwrap()).collect();
            assert_eq!(slots.take(Some("p")).err(), Some(Taken::Node));
            drop(all);
        }
    }
}
