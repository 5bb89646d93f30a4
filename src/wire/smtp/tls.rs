//! Wraps a connection in TLS, checked against the relay's name.
//!
//! In: a connection, the configured host and the roots. Out: an encrypted connection, or why not. There is no switch that
//! accepts any certificate, only another root. Sources: RFC 8314 §3.3, RFC 7817 (names), RFC 8997 (TLS 1.2 and later); S-84.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to believe about the relay's name. Read once, at the first connection; clones share what was read.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    file: Option<PathBuf>,
    read: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Roots {
    /// The certificate authorities of the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// Only the certificates in this PEM file: an authority of one's own or the relay's own certificate.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), read: Arc::default() }
    }

    /// Reads the certificates, if that was not done: a mistake in them shows before anyone connects.
    pub(super) fn ready(&self) -> Result<(), String> {
        self.config().map(|_| ())
    }

    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.read.get() {
            return Ok(config.clone());
        }
        let config = Arc::new(client_config(self.read_store()?)?);
        Ok(self.read.get_or_init(|| config).clone())
    }

    fn read_store(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        match &self.file {
            Some(path) => {
                let unreadable = |e: &dyn std::fmt::Display| format!("the CA file {} cannot be read: {e}", path.display());
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
                    store.add(certificate.map_err(|e| unreadable(&e))?).map_err(|e| unreadable(&e))?;
                }
            }
            None => _ = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        }
        if store.is_empty() {
            let place = self.file.as_ref().map_or("the operating system's store".into(), |path| path.display().to_string());
            return Err(format!("{place} holds no certificate; install ca-certificates or name a CA file"));
        }
        Ok(store)
    }
}

fn client_config(store: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

/// Why there is no encrypted connection.
#[derive(Debug)]
pub(super) enum TlsError {
    /// The settings cannot work, now or later.
    Settings(String),
    /// The handshake failed.
    Handshake(io::Error),
}

/// Shakes hands. The time limit is the caller's.
pub(super) async fn wrap<S>(stream: S, host: &str, roots: &Roots) -> Result<TlsStream<S>, TlsError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let config = roots.config().map_err(TlsError::Settings)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| TlsError::Settings(format!("\"{host}\" is not a host name that a certificate can carry")))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(TlsError::Handshake)
}
