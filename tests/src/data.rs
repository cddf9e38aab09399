//! Bytes to upload and their digests; randomness with a printed seed.

use bytes::Bytes;
use md5::{Digest, Md5};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::Sha512;

/// A random source whose seed can be given again through an environment variable.
pub struct Random {
    /// The seed in use.
    pub seed: u64,
    /// The source.
    pub source: StdRng,
}

impl Random {
    /// Takes the seed from `variable`, or a fresh one, and prints it.
    pub fn from_env(variable: &str) -> Self {
        let seed = match std::env::var(variable) {
            Ok(text) => text.parse().expect("the seed is a number"),
            Err(_) => rand::random(),
        };
        println!("{variable}={seed}");
        Self::new(seed)
    }

    /// Of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            source: StdRng::seed_from_u64(seed),
        }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.source.random_range(0..bound)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Bytes without a pattern.
    pub fn bytes(&mut self, length: usize) -> Bytes {
        let mut bytes = vec![0; length];
        self.source.fill(&mut bytes[..]);
        Bytes::from(bytes)
    }
}

/// Bytes without a pattern; the same for the same arguments.
pub fn random_bytes(length: usize, seed: u64) -> Bytes {
    Random::new(seed).bytes(length)
}

/// MD5 as `checksum` shows it.
pub fn md5_hex(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

/// SHA-512 as `os_hash_value` shows it.
pub fn sha512_hex(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
