//! What the reaper decides, from facts alone.

use std::time::Duration;

/// The facts of an upload row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upload {
    /// This node received it.
    pub(super) of_this_node: bool,
    /// This very process did.
    pub(super) of_this_process: bool,
    /// A task of this process owns it.
    pub(super) live: bool,
    /// The time in the log is past its lease: the registry does not let it finish, unless its owner
    /// renews the lease first.
    pub(super) lease_over: bool,
    /// The image is there and has data, so what lies under its key is not the upload's.
    pub(super) image_has_data: bool,
}

/// Whether an upload still goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may.
    Alive,
    /// It never will.
    Dead(Removal),
}

/// What of a dead upload is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// The row only.
    Row,
    /// The object under the image's key, then the row.
    Object,
}

/// Decides about an upload.
pub(super) fn upload(facts: &Upload) -> Fate {
    // The task resolves it, dead or not.
    if facts.live {
        return Fate::Alive;
    }
    let process_gone = facts.of_this_node && !facts.of_this_process;
    if !process_gone && !facts.lease_over {
        return Fate::Alive;
    }
    Fate::Dead(match facts.image_has_data {
        true => Removal::Row,
        false => Removal::Object,
    })
}

/// What the registry knows of an object in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// Its key is no image id, or one that was never given out.
    Unknown,
    /// An upload to its image goes on.
    Uploading,
    /// Its image has data, under this location or another.
    OfData,
    /// Its image was deleted, or has no data and no upload.
    Leftover,
}

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrphanFate {
    /// Not an orphan.
    Keep,
    /// Looks like one; look again later.
    Suspect,
    /// Is one.
    Remove,
}

/// Decides about an object that has been a suspect for `seen`.
pub(super) fn orphan(object: &Object, seen: Option<Duration>, grace: Duration) -> OrphanFate {
    match (object, seen) {
        (Object::Unknown | Object::Uploading | Object::OfData, _) => OrphanFate::Keep,
        (Object::Leftover, Some(seen)) if seen >= grace => OrphanFate::Remove,
        (Object::Leftover, _) => OrphanFate::Suspect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_dead_when_its_process_is_gone_or_its_lease_over() {
        use Fate::{Alive, Dead};
        // this node, this process, live task, lease over → fate while the image has no data
        let table = [
            ((true, true, true, false), Alive),
            // Its own task resolves it.
            ((true, true, true, true), Alive),
            // Its task has given up on an unknown outcome: not before the lease is over.
            ((true, true, false, false), Alive),
            ((true, true, false, true), Dead(Removal::Object)),
            ((true, false, false, false), Dead(Removal::Object)),
            ((true, false, false, true), Dead(Removal::Object)),
            ((false, false, false, false), Alive),
            ((false, false, false, true), Dead(Removal::Object)),
        ];
        for ((of_this_node, of_this_process, live, lease_over), fate) in table {
            let mut facts = Upload {
                of_this_node,
                of_this_process,
                live,
                lease_over,
                image_has_data: false,
            };
            assert_eq!(upload(&facts), fate, "{facts:?}");
            facts.image_has_data = true;
            let kept = match fate {
                Alive => Alive,
                Dead(_) => Dead(Removal::Row),
            };
            assert_eq!(upload(&facts), kept, "{facts:?}");
        }
    }

    #[test]
    fn only_a_leftover_is_removed_and_only_after_the_grace() {
        let grace = Duration::from_secs(60);
        let long = Some(Duration::from_secs(3600));
        for kept in [Object::Unknown, Object::Uploading, Object::OfData] {
            for seen in [None, Some(Duration::ZERO), long] {
                assert_eq!(orphan(&kept, seen, grace), OrphanFate::Keep, "{kept:?}");
            }
        }
        let table = [
            (None, OrphanFate::Suspect),
            (Some(Duration::ZERO), OrphanFate::Suspect),
            (Some(Duration::from_secs(59)), OrphanFate::Suspect),
            (Some(grace), OrphanFate::Remove),
            (long, OrphanFate::Remove),
        ];
        for (seen, fate) in table {
            assert_eq!(orphan(&Object::Leftover, seen, grace), fate, "{seen:?}");
        }
        // Seen twice, even without a grace.
        assert_eq!(
            orphan(&Object::Leftover, None, Duration::ZERO),
            OrphanFate::Suspect
        );
    }
}
