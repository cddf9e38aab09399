//! Certificates made on the spot, and clients that speak TLS.

use std::path::{Path, PathBuf};

use reqwest::tls::Version;

/// Clients of `reqwest` need a provider of cryptography, also those that speak plain HTTP.
pub(crate) fn use_ring() {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A self-signed certificate of 127.0.0.1 with its key.
#[derive(Debug, Clone)]
pub struct TestCertificate {
    /// PEM.
    pub cert: String,
    /// PEM.
    pub key: String,
}

impl TestCertificate {
    /// A fresh one.
    pub fn generate() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        Self {
            cert: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    /// Writes both into a folder and says where.
    pub fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, &self.cert).expect("a certificate");
        std::fs::write(&key, &self.key).expect("a key");
        (cert, key)
    }

    /// What a client does that trusts this certificate only.
    pub(crate) fn trust(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let cert = reqwest::Certificate::from_pem(self.cert.as_bytes());
        builder.tls_certs_only([cert.expect("a certificate")])
    }
}

/// The versions of TLS that clients may be held to.
#[derive(Debug, Clone, Copy)]
pub enum TlsVersion {
    /// 1.2
    V12,
    /// 1.3
    V13,
}

impl TlsVersion {
    pub(crate) fn hold(self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let version = match self {
            Self::V12 => Version::TLS_1_2,
            Self::V13 => Version::TLS_1_3,
        };
        builder.tls_version_min(version).tls_version_max(version)
    }
}
