//! Whom a certificate is for: a URI among its names.

use std::fmt;

use chat_replication::types::{ClusterId, ReplicaId};
use rustls::pki_types::CertificateDer;
use uuid::Uuid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A replica of a cluster, as `chat://CLUSTER-ID/replica/N`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name {
    pub(super) cluster: ClusterId,
    pub(super) replica: ReplicaId,
}

impl Name {
    fn parse(uri: &str) -> Option<Name> {
        let (cluster, replica) = uri.strip_prefix("chat://")?.split_once("/replica/")?;
        let name = Name {
            cluster: ClusterId(Uuid::try_parse(cluster).ok()?),
            replica: ReplicaId(replica.parse().ok()?),
        };
        // One spelling only.
        (name.to_string() == uri).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chat://{}/replica/{}", self.cluster, self.replica)
    }
}

/// What a certificate says of itself. Whether that can be believed is the verifier's business.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Described {
    /// Absent where the certificate is not for a replica, or for more than one.
    pub(super) name: Option<Name>,
    /// The last second of its life, since 1970.
    pub(super) expires_at: i64,
}

/// Reads a certificate; nothing where it is none.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> Option<Described> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()?;
    let mut replicas = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Name::parse(uri),
            _ => None,
        });
    let name = replicas.next().filter(|_| replicas.next().is_none());
    Some(Described {
        name,
        expires_at: parsed.validity().not_after.timestamp(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        let name = Name {
            cluster: ClusterId(Uuid::from_u128(7)),
            replica: ReplicaId(2),
        };
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        let cluster = name.cluster;
        for other in [
            format!("chat://{cluster}/replica/02"),
            format!("chat://{cluster}/replica/+2"),
            format!("chat://{cluster}/replica/2/"),
            format!("chat://{cluster}/admin"),
            format!("CHAT://{cluster}/replica/2"),
            "chat://7/replica/2".to_owned(),
            String::new(),
        ] {
            assert_eq!(Name::parse(&other), None, "{other}");
        }
    }
}
