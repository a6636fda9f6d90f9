//! Encrypted connections: whom a client takes for a replica.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// Whom a client takes for a replica: by default one with a certificate for the host it was reached under, which an
/// authority has signed that the system trusts.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    authorities: Vec<CertificateDer<'static>>,
    domain: Option<ServerName<'static>>,
}

/// Settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text holds no certificate.
    #[error("there is no certificate in PEM form: {problem}; give the cluster's ca.pem")]
    NoCertificate {
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate cannot be an authority's.
    #[error("the certificate is of no use: {problem}; give the cluster's ca.pem")]
    BadCertificate {
        /// What is wrong with it.
        problem: String,
    },
    /// The name is none that a certificate could have.
    #[error("`{domain}` is no host name")]
    BadDomain {
        /// What was given.
        domain: String,
    },
    /// The system trusts nobody.
    #[error(
        "this system has no list of authorities that it trusts ({problem}); give the cluster's ca.pem"
    )]
    NoAuthorities {
        /// What was found instead.
        problem: String,
    },
}

impl TlsSettings {
    /// Trusts those authorities that the system trusts.
    pub fn new() -> TlsSettings {
        TlsSettings::default()
    }

    /// Trusts an authority of one's own, such as that of the cluster, and no longer those of the system. May be called
    /// more than once.
    ///
    /// # Errors
    /// [`TlsError::NoCertificate`] for a text that holds no certificate in PEM form.
    pub fn ca_pem(mut self, pem: &[u8]) -> Result<TlsSettings, TlsError> {
        let unusable = |problem: String| TlsError::NoCertificate { problem };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("nothing begins with BEGIN CERTIFICATE".to_owned()));
        }
        self.authorities.extend(certificates);
        Ok(self)
    }

    /// Expects certificates for this name, whatever host a replica is reached under.
    ///
    /// # Errors
    /// [`TlsError::BadDomain`] for what is neither a host name nor an address.
    pub fn domain(mut self, domain: &str) -> Result<TlsSettings, TlsError> {
        self.domain = Some(server_name(domain)?);
        Ok(self)
    }

    pub(crate) fn prepare(self) -> Result<Tls, TlsError> {
        let mut roots = RootCertStore::empty();
        if self.authorities.is_empty() {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let problem = match found.errors.first() {
                    Some(error) => error.to_string(),
                    None => "it is empty".to_owned(),
                };
                return Err(TlsError::NoAuthorities { problem });
            }
        }
        let unusable = |error: rustls::Error| TlsError::BadCertificate {
            problem: error.to_string(),
        };
        for authority in self.authorities {
            roots.add(authority).map_err(unusable)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Tls {
            config: Arc::new(config),
            domain: self.domain,
        })
    }
}

/// The settings, ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    domain: Option<ServerName<'static>>,
}

impl Tls {
    /// What the certificate of a replica on this host must be for.
    pub(crate) fn name_of(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        match &self.domain {
            Some(domain) => Ok(domain.clone()),
            None => server_name(host),
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::BadDomain {
        domain: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_used_are_told_apart() {
        for pem in [&b""[..], b"hello", b"\xff\xfe"] {
            assert!(matches!(
                TlsSettings::new().ca_pem(pem),
                Err(TlsError::NoCertificate { .. })
            ));
        }
        let nonsense = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let settings = TlsSettings::new().ca_pem(nonsense).expect("PEM form");
        assert!(matches!(
            settings.prepare(),
            Err(TlsError::BadCertificate { .. })
        ));
        assert!(matches!(
            TlsSettings::new().domain("a b"),
            Err(TlsError::BadDomain { .. })
        ));
    }
}
