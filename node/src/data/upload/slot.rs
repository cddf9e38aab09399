//! The right to upload: the node bounds uploads at once, in all and for each project, so that one
//! project that uploads slowly cannot take every slot.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;

/// Uploads of each project at once; projects without one are not in it.
pub type Projects = Mutex<HashMap<String, usize>>;

/// The right to one upload, given back when dropped.
pub struct Slot {
    app: Arc<App>,
    project: String,
    _one: OwnedSemaphorePermit,
}

/// There is none left: 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// `limits.concurrent_uploads`
    Node,
    /// `limits.concurrent_uploads_per_project`
    Project,
}

impl Slot {
    /// One for a caller of this project. Callers without a project share.
    pub fn take(app: &Arc<App>, project: Option<&str>) -> Result<Self, Taken> {
        let bound = app.config.limits.concurrent_uploads_per_project;
        let one = Arc::clone(&app.upload_slots)
            .try_acquire_owned()
            .map_err(|_| Taken::Node)?;
        let project = project.unwrap_or_default().to_owned();
        let mut projects = app.data.projects.lock();
        let running = projects.get(&project).copied().unwrap_or(0);
        if bound != 0 && running >= bound {
            return Err(Taken::Project);
        }
        projects.insert(project.clone(), running + 1);
        drop(projects);
        Ok(Self {
            app: Arc::clone(app),
            project,
            _one: one,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut projects = self.app.data.projects.lock();
        match projects.get_mut(&self.project) {
            Some(running) if *running > 1 => *running -= 1,
            _ => drop(projects.remove(&self.project)),
        }
    }
}
