//! What is done to a node, and what is known of its images by the answers.

use std::{cell::RefCell, collections::BTreeMap};

use bytes::Bytes;
use glimpse_registry::{
    image::{Image, ImageId},
    status::Status,
};
use md5::{Digest as _, Md5};
use rand::{RngExt as _, SeedableRng, rngs::StdRng};

use super::super::rig::random;

/// Data of images, by which it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data {
    seed: u64,
    len: usize,
}

impl Data {
    /// Small, of a sector or several; at times the data of another image.
    pub(super) fn any(rng: &mut StdRng) -> Self {
        Self {
            seed: rng.random_range(0..40),
            len: *[1, 600, 4096, 9001, 20_000]
                .get(rng.random_range(0..5))
                .unwrap(),
        }
    }

    /// For an image that was queued when the process started.
    pub(super) fn again(id: ImageId) -> Self {
        Self {
            seed: id.0[0].into(),
            len: 1 + usize::from(id.0[1]) * 40,
        }
    }

    pub(super) fn bytes(self) -> Bytes {
        random(self.seed, self.len)
    }

    pub(super) fn md5(self) -> String {
        let digest = Md5::digest(self.bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn size(self) -> u64 {
        self.len as u64
    }
}

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    /// Not made, or deleted.
    Absent,
    Queued,
    Active(Data),
}

impl Fact {
    fn is(self, found: Option<&Image>) -> bool {
        match (self, found) {
            (Self::Absent, found) => found.is_none(),
            (Self::Queued, Some(image)) => image.status == Status::Queued,
            (Self::Active(data), Some(image)) => {
                image.status == Status::Active
                    && image.size == Some(data.size())
                    && image.checksum == Some(data.md5())
            }
            (Self::Queued | Self::Active(_), None) => false,
        }
    }
}

/// What the answers say.
#[derive(Debug, Default)]
pub(super) struct Known(RefCell<BTreeMap<ImageId, Belief>>);

#[derive(Debug, Clone)]
struct Belief {
    /// By the last answer.
    sure: Fact,
    /// What calls without an answer may have made of it.
    maybe: Vec<Fact>,
}

impl Known {
    /// A call begins that may make this of the image.
    pub(super) fn may_be(&self, id: ImageId, fact: Fact) {
        let mut all = self.0.borrow_mut();
        let belief = all.entry(id).or_insert(Belief {
            sure: Fact::Absent,
            maybe: Vec::new(),
        });
        belief.maybe.push(fact);
    }

    /// It was answered, or seen.
    pub(super) fn is(&self, id: ImageId, fact: Fact) {
        let belief = Belief {
            sure: fact,
            maybe: Vec::new(),
        };
        self.0.borrow_mut().insert(id, belief);
    }

    /// Compares with what a new process shows; from then on that is the truth.
    pub(super) fn settle(&self, id: ImageId, found: Option<&Image>) -> Fact {
        let belief = self.0.borrow()[&id].clone();
        let fact = std::iter::once(&belief.sure)
            .chain(&belief.maybe)
            .find(|fact| fact.is(found));
        let fact = *fact.unwrap_or_else(|| {
            panic!("{id} should be {belief:?}; found {found:?}");
        });
        self.is(id, fact);
        fact
    }

    pub(super) fn ids(&self) -> Vec<ImageId> {
        self.0.borrow().keys().copied().collect()
    }

    /// Images about which there is no doubt.
    fn sure(&self, of: impl Fn(Fact) -> bool) -> Vec<ImageId> {
        let all = self.0.borrow();
        let sure = all.iter().filter(|(_, b)| b.maybe.is_empty() && of(b.sure));
        sure.map(|(id, _)| *id).collect()
    }

    pub(super) fn queued(&self) -> Vec<ImageId> {
        self.sure(|fact| fact == Fact::Queued)
    }

    fn present(&self) -> Vec<ImageId> {
        self.sure(|fact| fact != Fact::Absent)
    }
}

/// One thing done to a node.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Create(ImageId),
    Upload(ImageId, Data),
    /// The inspector refuses it.
    Refused(ImageId),
    /// The client goes away before the end.
    Cut(ImageId, Data),
    /// The image is deleted meanwhile.
    Overtaken(ImageId, Data),
    Delete(ImageId),
}

/// So many waves of actions that are under way at once, made from a seed as the answers come.
#[derive(Default)]
pub(super) struct Script {
    seed: u64,
    waves: usize,
}

/// Images present at a time at most.
const MOST: usize = 10;

impl Script {
    pub(super) fn new(seed: u64, waves: usize) -> Self {
        Self { seed, waves }
    }

    /// The waves in order; each must be done before the next is asked for.
    pub(super) fn waves<'a>(&self, known: &'a Known) -> impl Iterator<Item = Vec<Action>> + 'a {
        let mut rng = StdRng::seed_from_u64(self.seed);
        (0..self.waves).map(move |_| wave(&mut rng, known))
    }
}

/// One to four actions, each on an image of its own.
fn wave(rng: &mut StdRng, known: &Known) -> Vec<Action> {
    let (mut queued, mut present) = (known.queued(), known.present());
    let mut actions = Vec::new();
    for _ in 0..rng.random_range(1..=4) {
        let choice = rng.random_range(0..100);
        let of = match choice {
            0..25 => None,
            25..75 => take(rng, &mut queued),
            _ => take(rng, &mut present),
        };
        let Some(id) = of else {
            if known.present().len() < MOST {
                actions.push(Action::Create(ImageId::from_random(rng.random())));
            }
            continue;
        };
        queued.retain(|other| *other != id);
        present.retain(|other| *other != id);
        actions.push(match choice {
            25..50 => Action::Upload(id, Data::any(rng)),
            50..58 => Action::Refused(id),
            58..66 => Action::Cut(id, Data::any(rng)),
            66..75 => Action::Overtaken(id, Data::any(rng)),
            _ => Action::Delete(id),
        });
    }
    actions
}

fn take(rng: &mut StdRng, from: &mut Vec<ImageId>) -> Option<ImageId> {
    match from.len() {
        0 => None,
        len => Some(from.swap_remove(rng.random_range(0..len))),
    }
}
