//! Making encrypted connections, and saying why one is not trusted.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rustls::CertificateError;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::Endpoint;
use crate::tls::Tls;

/// Whoever answers is not to be trusted, or cannot be talked with in secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Untrusted(String);

/// Encrypts a connection to an endpoint.
pub(super) async fn encrypt(
    tls: &Tls,
    endpoint: &Endpoint,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Box<dyn StdError + Send + Sync>> {
    let name = tls.name_of(endpoint.host())?;
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    connector.connect(name, stream).await.map_err(in_words)
}

fn in_words(error: io::Error) -> Box<dyn StdError + Send + Sync> {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(tls) => Box::new(Untrusted(problem(tls))),
        None => Box::new(error),
    }
}

fn problem(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "its certificate is signed by an authority that is not trusted here; give \
                the cluster's ca.pem (--ca FILE, or CHAT_CA)"
                .to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired, or the clock of this machine is wrong; tell its operator".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; set the clock of this machine right".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another host; name the replica as its operator does".to_owned()
            }
            error => format!("its certificate is not to be trusted ({error}); tell its operator"),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS; its operator can make certificates with `chat-server \
            init`, and a replica on this machine is reached without https://"
            .to_owned(),
        error => format!("no encrypted connection could be made: {error}"),
    }
}
