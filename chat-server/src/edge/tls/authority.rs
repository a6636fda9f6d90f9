//! A cluster's own certificate authority, and the certificates that it makes.

use chat_replication::types::{ClusterId, ReplicaId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use super::name::Name;

/// How long the authority itself lasts.
const YEARS: i64 = 20;
/// Clocks may differ by so much without a new certificate being too young for somebody.
const LEEWAY: Duration = Duration::hours(1);

/// A certificate could not be made.
#[derive(Debug, Error)]
#[error("cannot make a certificate: {0}")]
pub(crate) struct AuthorityError(#[from] rcgen::Error);

/// Makes the certificates of one cluster.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

/// A certificate and its key, both in PEM form.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// A new authority, and what has to be kept of it.
    pub(crate) fn establish(cluster: ClusterId) -> Result<(Authority, Issued), AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = params(
            &format!("chat cluster {cluster}"),
            Duration::days(365 * YEARS),
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issued = Issued {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        Ok((Authority(Issuer::new(params, key)), issued))
    }

    /// The authority that was established before.
    pub(crate) fn from_pem(kept: &Issued) -> Result<Authority, AuthorityError> {
        let key = KeyPair::from_pem(&kept.key)?;
        Ok(Authority(Issuer::from_ca_cert_pem(&kept.certificate, key)?))
    }

    /// A certificate for one replica, which is reached under `hosts`.
    pub(crate) fn issue(
        &self,
        cluster: ClusterId,
        replica: ReplicaId,
        hosts: &[String],
        lifetime: Duration,
    ) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = params(&format!("chat replica {replica}"), lifetime);
        let name = Name { cluster, replica };
        let of_hosts = CertificateParams::new(hosts)?;
        params.subject_alt_names = of_hosts.subject_alt_names;
        let uri = SanType::URI(name.to_string().try_into()?);
        params.subject_alt_names.push(uri);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        Ok(Issued {
            certificate: params.signed_by(&key, &self.0)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params(common_name: &str, lifetime: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - LEEWAY;
    params.not_after = now + lifetime;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}
