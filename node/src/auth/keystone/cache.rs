//! What the identity service lately said, for a bounded number of things. A token is known by a keyed
//! hash, so that nothing here tells it, and nobody can choose where it falls.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::Instant,
};

use parking_lot::RwLock;

/// Enough that readers of different tokens seldom meet.
const SHARDS: usize = 16;

/// A hash of what is known.
pub(crate) type Key = [u8; 32];

/// Values by key, each until a time of its own.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    shards: [RwLock<Shard<V>>; SHARDS],
    /// Of each shard.
    most: usize,
}

type Shard<V> = HashMap<Key, (Instant, V), BuildHasherDefault<First>>;

impl<V: Clone> Cache<V> {
    /// Of about `most` values.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            most: most.div_ceil(SHARDS),
        }
    }

    fn shard(&self, key: &Key) -> &RwLock<Shard<V>> {
        // The map takes the first bytes.
        &self.shards[usize::from(key[31]) % SHARDS]
    }

    /// What is known at `now`.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<V> {
        let shard = self.shard(key).read();
        let (until, value) = shard.get(key)?;
        (now < *until).then(|| value.clone())
    }

    /// Remembers a value. Where there is no room, what has lapsed goes, or else any one.
    pub(crate) fn put(&self, key: Key, until: Instant, value: V) {
        let now = Instant::now();
        if until <= now {
            return;
        }
        let mut shard = self.shard(&key).write();
        if shard.len() >= self.most && !shard.contains_key(&key) {
            shard.retain(|_, (until, _)| now < *until);
            if shard.len() >= self.most
                && let Some(any) = shard.keys().next().copied()
            {
                shard.remove(&any);
            }
        }
        shard.insert(key, (until, value));
    }

    /// Values held, lapsed ones included.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

/// Keys are hashes already: their first bytes do.
#[derive(Debug, Default)]
struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length of the array, which says nothing.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(number: u64) -> Key {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    #[test]
    fn a_value_is_known_until_its_time_and_no_longer() {
        let cache = Cache::new(64);
        let now = Instant::now();
        let until = now + Duration::from_secs(60);
        cache.put(key(1), until, 'a');
        assert_eq!(cache.get(&key(1), now), Some('a'));
        assert_eq!(cache.get(&key(1), until), None);
        assert_eq!(cache.get(&key(2), now), None);
        cache.put(key(2), now, 'b');
        assert_eq!(cache.get(&key(2), now), None);
    }

    #[test]
    fn no_more_are_held_than_there_is_room_for_and_the_newest_is_among_them() {
        let cache = Cache::new(64);
        let until = Instant::now() + Duration::from_secs(60);
        for number in 0..1000 {
            cache.put(key(number), until, number);
            assert_eq!(cache.get(&key(number), Instant::now()), Some(number));
        }
        assert!(cache.len() <= 64, "{}", cache.len());
        assert!(cache.len() > 32, "{}", cache.len());
    }
}
