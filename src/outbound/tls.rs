//! Whom outbound connections trust: the public roots, and the CA of a stand-in or proxy when one is set.

use crate::error::{Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Certificates that are believed; cheap to clone. There is no way to send without verification.
#[derive(Clone)]
pub struct Trust(pub(super) TlsConnector);

impl Trust {
    /// The public roots, plus those in the PEM file at `ca_file` (empty: none).
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn load(ca_file: &str) -> Result<Self> {
        if ca_file.is_empty() {
            return Self::with_pem("");
        }
        let pem =
            std::fs::read_to_string(ca_file).map_err(|e| Error::broken(format!("KAIROS_CA_FILE: cannot read {ca_file}: {e}")))?;
        Self::with_pem(&pem)
    }

    /// The public roots, plus the certificates in this PEM text.
    ///
    /// # Errors
    /// When the text is not empty and holds no certificate.
    pub fn with_pem(pem: &str) -> Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if !pem.is_empty() {
            let mut found = false;
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate =
                    certificate.map_err(|e| Error::broken(format!("KAIROS_CA_FILE: not a PEM certificate: {e}")))?;
                roots.add(certificate).map_err(|e| Error::broken(format!("KAIROS_CA_FILE: unusable certificate: {e}")))?;
                found = true;
            }
            if !found {
                return Err(Error::broken("KAIROS_CA_FILE: the file holds no certificate in PEM form"));
            }
        }
        // The provider is named here, so that this works before anybody has installed a default one.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::broken)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// The same trust for a peer that speaks HTTP/1.1.
    pub(super) fn for_http1(&self) -> Self {
        let mut config = ClientConfig::clone(self.0.config());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(TlsConnector::from(Arc::new(config)))
    }
}
