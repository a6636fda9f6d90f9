//! What is read from the files of certificates and keys, checked as a whole.

use std::path::Path;
use std::sync::Arc;

use chat_replication::types::{ClusterId, ReplicaId};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use super::error::TlsError;
use super::name::{Name, describe};
use super::verifier::SignedByTheCluster;
use crate::config::TlsFiles;

/// What replicas and clients speak over the connection.
const PROTOCOL: &[u8] = b"h2";

/// What connections are made with, until other files take the place of these.
#[derive(Debug)]
pub(super) struct Material {
    /// For clients, who need no certificate; a replica that passes a call on shows its own.
    pub(super) for_clients: Arc<ServerConfig>,
    /// For replicas, who must show theirs.
    pub(super) for_peers: Arc<ServerConfig>,
    /// For connections to other replicas.
    pub(super) outgoing: Arc<ClientConfig>,
    /// When this replica's certificate ends, in seconds since 1970.
    pub(super) expires_at: i64,
}

impl Material {
    pub(super) fn load(
        files: &TlsFiles,
        cluster: ClusterId,
        me: ReplicaId,
    ) -> Result<Material, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authority = Arc::new(authority(&files.ca)?);
        let chain = certificates(&files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| TlsError::new(&files.key, unreadable(&error, "private key")))?;
        let verifier = SignedByTheCluster {
            authority: Arc::clone(&authority),
            provider: Arc::clone(&provider),
        };
        let expires_at = check(
            files,
            &chain,
            &verifier,
            Name {
                cluster,
                replica: me,
            },
        )?;
        let failed = |error: Error| TlsError::new(&files.cert, problem(&error));

        let of_peers = || {
            let roots = Arc::clone(&authority);
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        };
        let cannot_verify = |error: rustls::server::VerifierBuilderError| {
            TlsError::new(&files.ca, error.to_string())
        };
        let every_client = of_peers().allow_unauthenticated().build();
        let every_peer = of_peers().build();
        let server = |verifier| -> Result<Arc<ServerConfig>, TlsError> {
            let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(failed)?
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain.clone(), key.clone_key())
                .map_err(failed)?;
            config.alpn_protocols = vec![PROTOCOL.to_vec()];
            Ok(Arc::new(config))
        };
        let for_clients = server(every_client.map_err(cannot_verify)?)?;
        let for_peers = server(every_peer.map_err(cannot_verify)?)?;
        let mut outgoing = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(failed)?;
        outgoing.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Material {
            for_clients,
            for_peers,
            outgoing: Arc::new(outgoing),
            expires_at,
        })
    }
}

fn authority(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut authority = RootCertStore::empty();
    for certificate in certificates(file)? {
        authority.add(certificate).map_err(|error| {
            TlsError::new(file, format!("is no certificate authority: {error}"))
        })?;
    }
    Ok(authority)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::new(file, unreadable(&error, "certificate")))?;
    match certificates.is_empty() {
        true => Err(TlsError::new(
            file,
            "holds no certificate in PEM form; `chat-server init` writes one",
        )),
        false => Ok(certificates),
    }
}

/// Makes sure that others would take the certificate for this replica's. Tells when it ends.
fn check(
    files: &TlsFiles,
    chain: &[CertificateDer<'static>],
    verifier: &SignedByTheCluster,
    me: Name,
) -> Result<i64, TlsError> {
    let wrong = |problem: String| TlsError::new(&files.cert, problem);
    let (certificate, intermediates) = chain
        .split_first()
        .ok_or_else(|| wrong("holds no certificate".to_owned()))?;
    let described =
        describe(certificate).ok_or_else(|| wrong("its certificate is unreadable".to_owned()))?;
    if described.name != Some(me) {
        let instead = match described.name {
            Some(other) => format!("is for {other}"),
            None => "is for no replica".to_owned(),
        };
        return Err(wrong(format!(
            "{instead}, and this is {me}; copy the certificate and key that `chat-server init` made for it"
        )));
    }
    let name = ServerName::try_from("replica").map_err(|error| wrong(error.to_string()))?;
    verifier
        .verify_server_cert(certificate, intermediates, &name, &[], UnixTime::now())
        .map_err(|error| {
            wrong(format!(
                "{}; its authority is {}",
                problem(&error),
                files.ca.display()
            ))
        })?;
    Ok(described.expires_at)
}

fn unreadable(error: &rustls::pki_types::pem::Error, what: &str) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            format!("holds no {what} in PEM form; `chat-server init` writes one")
        }
        rustls::pki_types::pem::Error::Io(error)
            if error.kind() == std::io::ErrorKind::NotFound =>
        {
            format!(
                "there is no such {what}; copy it to this machine from where `chat-server init` was run, or correct [tls] \
                 in the cluster file"
            )
        }
        rustls::pki_types::pem::Error::Io(error) => format!("cannot be read: {error}"),
        error => format!("is not a {what} in PEM form: {error}"),
    }
}

/// What is wrong with a certificate, in words.
pub(super) fn problem(error: &Error) -> String {
    use rustls::CertificateError;
    match error {
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the certificate has expired (or the machine's clock is wrong); `chat-server init --renew N` makes a new one"
            .to_owned(),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "the certificate is not valid yet; set the machine's clock right".to_owned(),
        // The signature is bad where another authority has the same name.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            "the certificate is not signed by the cluster's authority; use one that `chat-server init` made for this \
             cluster"
                .to_owned()
        }
        Error::InconsistentKeys(_) => {
            "certificate and key do not belong together; copy both of them again".to_owned()
        }
        Error::InvalidMessage(_) => {
            "the other side does not speak TLS; give all replicas the same cluster file, with [tls]".to_owned()
        }
        Error::NoCertificatesPresented => "the other side shows no certificate".to_owned(),
        Error::AlertReceived(alert) => {
            format!("the other side refuses this replica's certificate ({alert:?}); look at its log")
        }
        error => error.to_string(),
    }
}
