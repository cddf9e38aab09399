//! The digests of an upload, on threads beside the one that receives it: MD5 and the configured
//! hash are the slowest part of an upload. MD5 and SHA-512 go in one pass where the processor can
//! (`glimpse-digest`), other pairs side by side, and the chunk digests of the manifest beside them.
//! Threads, not the blocking pool: a pool that was full of hashes that wait for data would leave no
//! thread for the store that the data waits for.

#[cfg(test)]
mod tests;

use std::{io, thread};

use bytes::Bytes;
use glimpse_cache::{Manifest, ManifestBuilder};
use sha2::digest::DynDigest;
use tokio::sync::{mpsc, oneshot};

/// A hash of `api.hashing_algorithm`, named as the reference's hash library names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `md5`
    Md5,
    /// `sha1`
    Sha1,
    /// `sha224`
    Sha224,
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

impl Algorithm {
    /// Every one there is.
    pub const ALL: [Self; 6] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
    ];

    /// The name in the configuration and in `os_hash_algo`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Hexadecimal digits of a hash.
    pub const fn hex_digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha224 => 56,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    /// Reads the name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == name)
    }

    fn start(self) -> Box<dyn DynDigest> {
        match self {
            Self::Md5 => Box::new(md5::Md5::default()),
            Self::Sha1 => Box::new(sha1::Sha1::default()),
            Self::Sha224 => Box::new(sha2::Sha224::default()),
            Self::Sha256 => Box::new(sha2::Sha256::default()),
            Self::Sha384 => Box::new(sha2::Sha384::default()),
            Self::Sha512 => Box::new(sha2::Sha512::default()),
        }
    }
}

/// What the hashes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// MD5, hex.
    pub md5: String,
    /// The configured hash, hex.
    pub hash: String,
    /// Chunk names.
    pub manifest: Manifest,
}

/// A thread that works through the pieces and ends with a result when they end.
struct Lane<T> {
    pieces: mpsc::Sender<Bytes>,
    result: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Lane<T> {
    /// Pieces that may wait for the thread.
    const QUEUE: usize = 4;

    fn start(
        name: &str,
        work: impl FnOnce(&mut dyn Iterator<Item = Bytes>) -> T + Send + 'static,
    ) -> io::Result<Self> {
        let (pieces, mut receiver) = mpsc::channel(Self::QUEUE);
        let (sender, result) = oneshot::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let value = work(&mut std::iter::from_fn(move || receiver.blocking_recv()));
                // Nobody listens when the upload was given up.
                drop(sender.send(value));
            })?;
        Ok(Self { pieces, result })
    }
}

/// The threads of MD5 and the configured hash; the results are hex.
enum Pair {
    Together(Lane<(String, String)>),
    Apart {
        md5: Lane<String>,
        hash: Lane<String>,
    },
}

impl Pair {
    fn start(algorithm: Algorithm) -> io::Result<Self> {
        #[cfg(target_arch = "x86_64")]
        if let (Algorithm::Sha512, Some(mut both)) = (algorithm, glimpse_digest::OnePass::new()) {
            let work = move |pieces: &mut dyn Iterator<Item = Bytes>| {
                for bytes in pieces {
                    both.update(&bytes);
                }
                let (md5, sha512) = both.finish();
                (hex(&md5), hex(&sha512))
            };
            return Lane::start("upload-hashes", work).map(Self::Together);
        }
        let digest = |algorithm: Algorithm| {
            move |pieces: &mut dyn Iterator<Item = Bytes>| {
                let mut digest = algorithm.start();
                for bytes in pieces {
                    digest.update(&bytes);
                }
                hex(&digest.finalize())
            }
        };
        if algorithm == Algorithm::Md5 {
            let work = move |pieces: &mut dyn Iterator<Item = Bytes>| {
                let md5 = digest(algorithm)(pieces);
                (md5.clone(), md5)
            };
            return Lane::start("upload-hashes", work).map(Self::Together);
        }
        Ok(Self::Apart {
            md5: Lane::start("upload-md5", digest(Algorithm::Md5))?,
            hash: Lane::start("upload-hash", digest(algorithm))?,
        })
    }

    async fn update(&self, piece: &Bytes) -> Result<(), Stopped> {
        match self {
            Self::Together(lane) => send(&lane.pieces, piece).await,
            Self::Apart { md5, hash } => {
                send(&md5.pieces, piece).await?;
                send(&hash.pieces, piece).await
            }
        }
    }

    async fn finish(self) -> Result<(String, String), Stopped> {
        match self {
            Self::Together(lane) => {
                drop(lane.pieces);
                lane.result.await.map_err(|_| Stopped)
            }
            Self::Apart { md5, hash } => {
                drop((md5.pieces, hash.pieces));
                tokio::try_join!(md5.result, hash.result).map_err(|_| Stopped)
            }
        }
    }
}

async fn send(lane: &mpsc::Sender<Bytes>, piece: &Bytes) -> Result<(), Stopped> {
    lane.send(piece.clone()).await.map_err(|_| Stopped)
}

/// The threads of one upload.
pub struct Hashers {
    pair: Pair,
    manifest: Lane<Manifest>,
}

/// A hash thread died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash thread has stopped")]
pub struct Stopped;

impl Hashers {
    /// Starts the threads.
    pub fn start(algorithm: Algorithm) -> io::Result<Self> {
        Ok(Self {
            pair: Pair::start(algorithm)?,
            manifest: Lane::start("upload-chunks", |pieces| {
                let mut builder = ManifestBuilder::new();
                for bytes in pieces {
                    builder.update(&bytes);
                }
                builder.finish()
            })?,
        })
    }

    /// Hands the next piece to every thread; waits where one's queue is full.
    pub async fn update(&self, piece: &Bytes) -> Result<(), Stopped> {
        self.pair.update(piece).await?;
        send(&self.manifest.pieces, piece).await
    }

    /// The data has ended: waits for the threads.
    pub async fn finish(self) -> Result<Digests, Stopped> {
        // First, so that both come to their end.
        let Lane { pieces, result } = self.manifest;
        drop(pieces);
        let (md5, hash) = self.pair.finish().await?;
        let manifest = result.await.map_err(|_| Stopped)?;
        Ok(Digests {
            md5,
            hash,
            manifest,
        })
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}
