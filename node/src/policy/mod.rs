//! Who may do what: the oslo.policy language, parsed once to a compiled form, and the default rules
//! of image-api 4.2 verbatim in one table; with them, who may touch which custom property
//! ([`protection`]). Files are read again when they change; the compiled
//! rules are then replaced as a whole, between one question and the next.
//!
//! Handlers do not ask [`Policy::allows`] about images: [`image`] knows what the target is and
//! when a refusal is 404 instead of 403.

mod check;
pub mod defaults;
mod draft;
mod error;
pub mod explain;
mod file;
pub mod image;
mod ini;
mod language;
pub mod metadef;
pub mod protection;
mod remote;
mod rules;
mod sources;

use std::sync::Arc;

use arc_swap::ArcSwap;
use glimpse_registry::image::{Image, ImageId};
use parking_lot::Mutex;

pub use error::PolicyError;
pub use language::SyntaxError;
pub use remote::Remote;
pub use rules::{Rule, Rules};
pub use sources::Sources;

use crate::{auth::Context, config::Problem};

/// What a rule is asked about: the `%(name)s` of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// `%(project_id)s` and `%(owner)s`: owner of the image.
    pub owner: Option<&'a str>,
    /// `%(visibility)s`
    pub visibility: Option<&'a str>,
    /// `%(member_id)s`: the project itself when it is a member, or the member asked about.
    pub member_id: Option<&'a str>,
    /// `%(id)s`
    pub id: Option<ImageId>,
    /// What has the other attributes and the custom properties.
    pub image: Option<&'a Image>,
}

/// The rules that hold now, and where they come from.
#[derive(Debug)]
pub struct Policy {
    rules: ArcSwap<Rules>,
    /// Without it rules that name servers refuse.
    remote: Option<Remote>,
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    sources: Sources,
    /// Of the files when they were read last.
    stamps: Vec<sources::Stamp>,
    /// Why the files as they are now cannot be used; the rules of before hold.
    failed: Option<String>,
}

/// What [`Policy::reread`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reread {
    /// No file has changed.
    Unchanged,
    /// The rules were replaced.
    Replaced,
    /// The files cannot be used; the rules of before hold. Told once per change.
    Kept(String),
}

impl Policy {
    /// The rules of image-api 4.2.
    #[expect(
        clippy::expect_used,
        reason = "they are constants of this program, and a test loads them"
    )]
    pub fn defaults() -> Self {
        Self::load(Sources::none()).expect("the default rules are well formed")
    }

    /// The defaults with the rules of the files in their place.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn load(sources: Sources) -> Result<Self, PolicyError> {
        // Before the files are read: what changes meanwhile is seen the next time.
        let stamps = sources.stamps();
        let rules = Rules::load(&sources)?;
        Ok(Self::of(rules, sources, stamps))
    }

    fn of(rules: Rules, sources: Sources, stamps: Vec<sources::Stamp>) -> Self {
        Self {
            rules: ArcSwap::from_pointee(rules),
            remote: None,
            watched: Mutex::new(Watched {
                sources,
                stamps,
                failed: None,
            }),
        }
    }

    /// With what asks the servers that rules name.
    pub fn asking(self, remote: Remote) -> Self {
        Self {
            remote: Some(remote),
            ..self
        }
    }

    /// From the text of one file; `path` is for errors.
    #[cfg(test)]
    pub(crate) fn parse(text: &str, path: &std::path::Path) -> Result<Self, PolicyError> {
        let sources = Sources::none();
        let rules = Rules::merged(&sources::parse(text, path)?, &sources)?;
        Ok(Self::of(rules, sources, Vec::new()))
    }

    /// The rules as they are now; those that a reader holds stay as they are.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// See [`Rules::allows`]. It may block for `auth.remote.timeout`, on a thread of the runtime that
    /// gives its other work away before.
    pub fn allows(&self, rule: &str, context: &Context, target: &Target<'_>) -> bool {
        let rules = self.rules.load();
        rules.allows(rule, context, target, self.remote.as_ref())
    }

    /// See [`Rules::may`].
    pub fn may(&self, action: protection::Action, property: &str, context: &Context) -> bool {
        let rules = self.rules.load();
        rules.may(action, property, context, self.remote.as_ref())
    }

    /// What is most likely a slip in the files, and whether they cannot be used at all any more.
    pub fn warnings(&self) -> Vec<Problem> {
        let failed = self.watched.lock().failed.clone().map(|cause| {
            format!("cannot be used as it is now, and the rules of before hold: {cause}")
        });
        let rules = self.rules.load();
        let slips = rules.warnings().iter().cloned();
        failed
            .into_iter()
            .chain(slips)
            .map(|message| Problem::new("auth.policy_file", message))
            .collect()
    }

    /// Whether the files as they are now cannot be used.
    pub fn is_stale(&self) -> bool {
        self.watched.lock().failed.is_some()
    }

    /// Reads the files again if they have changed. Blocks on the disk.
    pub fn reread(&self) -> Reread {
        let mut watched = self.watched.lock();
        let stamps = watched.sources.stamps();
        let changed = stamps != watched.stamps;
        // What failed is tried again: what kept it from being read may show in no stamp.
        if !changed && watched.failed.is_none() {
            return Reread::Unchanged;
        }
        watched.stamps = stamps;
        match Rules::load(&watched.sources) {
            Ok(rules) => {
                watched.failed = None;
                self.rules.store(Arc::new(rules));
                Reread::Replaced
            }
            Err(cause) => {
                let cause = cause.to_string();
                let told = !changed && watched.failed.as_ref() == Some(&cause);
                watched.failed = Some(cause.clone());
                match told {
                    true => Reread::Unchanged,
                    false => Reread::Kept(cause),
                }
            }
        }
    }

    /// Takes the rules from other files from now on.
    ///
    /// # Errors
    /// See [`PolicyError`]; then nothing has changed.
    pub fn replace(&self, sources: Sources) -> Result<(), PolicyError> {
        let mut watched = self.watched.lock();
        let stamps = sources.stamps();
        let rules = Rules::load(&sources)?;
        *watched = Watched {
            sources,
            stamps,
            failed: None,
        };
        self.rules.store(Arc::new(rules));
        Ok(())
    }
}

/// Text as a part of a URL or form.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests;
