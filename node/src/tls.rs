//! TLS by rustls: the provider of cryptography that all of the process uses, and the certificate of
//! the API listener, which is read again when its files change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_util::sync::CancellationToken;

/// Makes ring the provider of the whole process. Clients of `reqwest` ask for one, also those that
/// speak plain HTTP, and cannot be built before. Once is enough; more do no harm.
pub fn use_ring() {
    // An error says that there is one already.
    let _ = ring::default_provider().install_default();
}

/// Why a certificate cannot be used. No text has anything of the key in it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file holds nothing in PEM of what is looked for.
    #[error("{}: no {what} in PEM form in it", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The key is another certificate's, or of a kind that is not known.
    #[error("{} and {} cannot be used: {cause}", cert.display(), key.display())]
    Refused {
        /// The file of the chain.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        cause: rustls::Error,
    },
}

/// Reads a chain and its key and proves that they belong together; gives what a listener needs (TLS
/// 1.2 and 1.3, HTTP/1.1), and a digest of both files.
fn read(cert: &Path, key: &Path) -> (blake3::Hash, Result<Arc<ServerConfig>, TlsError>) {
    let unreadable = |path: &Path, cause| TlsError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let files = std::fs::read(cert)
        .map_err(|cause| unreadable(cert, cause))
        .and_then(|chain| {
            Ok((
                chain,
                std::fs::read(key).map_err(|cause| unreadable(key, cause))?,
            ))
        });
    let (chain, secret) = match files {
        Ok(files) => files,
        Err(error) => return (blake3::hash(b""), Err(error)),
    };
    let mut digest = blake3::Hasher::new();
    digest.update(blake3::hash(&chain).as_bytes());
    digest.update(blake3::hash(&secret).as_bytes());
    (digest.finalize(), parse(cert, &chain, key, &secret))
}

fn parse(
    cert: &Path,
    chain: &[u8],
    key: &Path,
    secret: &[u8],
) -> Result<Arc<ServerConfig>, TlsError> {
    let not_pem = |path: &Path, what| TlsError::NotPem {
        path: path.to_owned(),
        what,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .ok()
        .filter(|chain: &Vec<_>| !chain.is_empty())
        .ok_or_else(|| not_pem(cert, "certificate"))?;
    let secret = PrivateKeyDer::from_pem_slice(secret).map_err(|_| not_pem(key, "private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|cause| TlsError::Refused {
            cert: cert.to_owned(),
            key: key.to_owned(),
            cause,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Says whether a chain and a key can be used.
pub fn check(cert: &Path, key: &Path) -> Result<(), TlsError> {
    read(cert, key).1.map(drop)
}

/// The certificate of a listener.
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    now: Mutex<Now>,
}

struct Now {
    config: Arc<ServerConfig>,
    /// Of the files as they were last looked at, also when they were refused.
    seen: blake3::Hash,
}

impl Certificate {
    /// Reads it.
    pub fn open(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let (seen, config) = read(cert, key);
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            now: Mutex::new(Now {
                config: config?,
                seen,
            }),
        })
    }

    /// What a new connection is to be accepted with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.now.lock().config)
    }

    /// Reads the files again, and takes what they hold for the connections to come; those that are
    /// there stay as they are. What cannot be used changes nothing, and is told once for each
    /// content. Blocks; `None`: the files are as they were.
    pub fn reload(&self) -> Option<Result<(), TlsError>> {
        let (seen, read) = read(&self.cert, &self.key);
        let mut now = self.now.lock();
        if now.seen == seen {
            return None;
        }
        now.seen = seen;
        Some(read.map(|config| now.config = config))
    }

    /// As [`Certificate::reload`], and says in the log what came of it.
    pub fn reload_and_say(&self) {
        let cert = self.cert.display();
        match self.reload() {
            None => {}
            Some(Ok(())) => tracing::info!(%cert, "the certificate was read anew"),
            Some(Err(cause)) => tracing::error!(
                %cause,
                "api.tls: the new certificate is not taken; the one before stays in use"
            ),
        }
    }

    /// Looks at the files so often, until `stop`.
    pub async fn watch(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(interval))
            .await
            .is_some()
        {
            let this = Arc::clone(&self);
            // It fails only while the process ends.
            let _ = tokio::task::spawn_blocking(move || this.reload_and_say()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a fresh pair into the folder.
    fn write(folder: &Path) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    #[test]
    fn a_new_pair_is_taken_and_a_broken_one_is_told_once_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = write(folder.path());
        let certificate = Certificate::open(&cert, &key).unwrap();
        let first = certificate.config();
        assert!(certificate.reload().is_none());
        std::fs::write(&key, "no key").unwrap();
        let told = certificate.reload().unwrap().unwrap_err().to_string();
        assert!(told.ends_with("no private key in PEM form in it"), "{told}");
        assert!(certificate.reload().is_none());
        assert!(Arc::ptr_eq(&first, &certificate.config()));
        write(folder.path());
        certificate.reload().unwrap().unwrap();
        assert!(!Arc::ptr_eq(&first, &certificate.config()));
        std::fs::remove_file(&cert).unwrap();
        assert!(certificate.reload().unwrap().is_err());
        assert!(certificate.reload().is_none());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((cert, _), (_, key)) = (write(one.path()), write(two.path()));
        assert!(matches!(check(&cert, &key), Err(TlsError::Refused { .. })));
        assert!(matches!(check(&key, &key), Err(TlsError::NotPem { .. })));
        let absent = one.path().join("absent");
        assert!(matches!(
            check(&absent, &key),
            Err(TlsError::Unreadable { .. })
        ));
    }
}
