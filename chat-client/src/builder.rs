//! How a client is set up.

use std::time::Duration;

use crate::client::Client;
use crate::endpoint::{Endpoint, EndpointError};
use crate::error::Error;
use crate::ids::SessionToken;
use crate::net::Net;
use crate::tls::{Tls, TlsSettings};

/// How long the resolver may take at the start. Later look-ups fall under the attempt's deadline.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(3);

/// Sets a [`Client`] up.
///
/// ```no_run
/// # async fn example() -> Result<(), chat_client::Error> {
/// use std::time::Duration;
///
/// use chat_client::Client;
///
/// let client = Client::builder()
///     .endpoints(["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"])
///     .attempt_deadline(Duration::from_millis(500))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    endpoints: Vec<String>,
    settings: Settings,
    session: Option<SessionToken>,
    tls: Option<TlsSettings>,
}

/// Who carries a write to the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxying {
    /// Whichever replica is asked passes it on.
    #[default]
    ByReplica,
    /// The client itself: a replica that does not lead is asked to say who does.
    ByClient,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) attempt_deadline: Duration,
    pub(crate) total_deadline: Duration,
    /// How long refused connections alone are put up with.
    pub(crate) refusal_patience: Option<Duration>,
    pub(crate) proxying: Proxying,
    pub(crate) reads: Reads,
    /// There if connections are encrypted.
    pub(crate) tls: Option<Tls>,
}

/// What a read shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Whatever the replica at hand has, but nothing older than what this client has seen.
    #[default]
    Local,
    /// Everything that anybody was told before.
    Linearizable,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            settings: Settings {
                attempt_deadline: Duration::from_secs(1),
                total_deadline: Duration::from_secs(30),
                refusal_patience: None,
                proxying: Proxying::default(),
                reads: Reads::default(),
                tls: None,
            },
            session: None,
            tls: None,
        }
    }

    /// Adds addresses of replicas, each as `HOST:PORT`. They are tried in this order. One is enough, for replicas tell of
    /// each other; but one that is down at the start tells nothing.
    pub fn endpoints<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: ToString,
    {
        self.endpoints
            .extend(endpoints.into_iter().map(|e| e.to_string()));
        self
    }

    /// How long one replica may take to answer before the next one is asked. One second by default.
    pub fn attempt_deadline(mut self, deadline: Duration) -> Self {
        self.settings.attempt_deadline = deadline;
        self
    }

    /// How long a call may take, all attempts and pauses together. 30 seconds by default.
    pub fn total_deadline(mut self, deadline: Duration) -> Self {
        self.settings.total_deadline = deadline;
        self
    }

    /// Gives a call up with [`Error::NothingListens`] after this time already when every address refuses connections. By
    /// default refusals are put up with for the total deadline, so that a cluster may be restarted under its clients.
    pub fn refusal_patience(mut self, patience: Duration) -> Self {
        self.settings.refusal_patience = Some(patience);
        self
    }

    /// Who carries writes to the leader; the replicas by default.
    pub fn proxying(mut self, proxying: Proxying) -> Self {
        self.settings.proxying = proxying;
        self
    }

    /// Makes reads linearizable: each shows everything that was acknowledged to anybody before it began, whichever
    /// replica answers. Costs a round trip between the replicas for each read, and needs a leader. In a cluster of mode
    /// `available` it holds as long as no partition made two leaders.
    ///
    /// By default a read shows what the replica at hand has, but nothing older than what this client has seen.
    pub fn linearizable_reads(mut self) -> Self {
        self.settings.reads = Reads::Linearizable;
        self
    }

    /// Encrypts all connections, and says whom to trust. Without it they are encrypted where one of the addresses begins
    /// with `https://`, and those authorities are trusted that the system trusts.
    pub fn tls(mut self, settings: TlsSettings) -> Self {
        self.tls = Some(settings);
        self
    }

    /// Goes on with a session that was opened before.
    pub fn session(mut self, token: SessionToken) -> Self {
        self.session = Some(token);
        self
    }

    /// Checks the addresses. No connection is made yet: the first call makes it, so that a client may start before its
    /// cluster does. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`EndpointError::Missing`] without an address, [`EndpointError::Malformed`] for the first that is none,
    /// [`EndpointError::Unresolvable`] when not one of the hosts is known, [`Error::Tls`] when nobody is trusted.
    pub async fn connect(mut self) -> Result<Client, Error> {
        let mut endpoints: Vec<Endpoint> = self
            .endpoints
            .iter()
            .map(|e| e.parse())
            .collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(EndpointError::Missing.into());
        }
        if self.tls.is_none() && endpoints.iter().any(Endpoint::is_encrypted) {
            self.tls = Some(TlsSettings::new());
        }
        if let Some(tls) = self.tls {
            self.settings.tls = Some(tls.prepare()?);
            endpoints = endpoints.into_iter().map(Endpoint::encrypted).collect();
        }
        resolve_one(&endpoints).await?;
        Ok(Client::new(
            Net::new(endpoints, self.settings),
            self.session,
        ))
    }
}

/// Fails when not one of the hosts can be resolved. One is enough: the others may become known later.
async fn resolve_one(endpoints: &[Endpoint]) -> Result<(), EndpointError> {
    let mut first_error = None;
    for endpoint in endpoints {
        let resolved = tokio::time::timeout(RESOLVE_DEADLINE, endpoint.resolve()).await;
        match resolved {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => first_error = first_error.or(Some(error)),
            Err(_) => {
                let source = std::io::Error::from(std::io::ErrorKind::TimedOut);
                let endpoint = endpoint.clone();
                let error = EndpointError::Unresolvable { endpoint, source };
                first_error = first_error.or(Some(error));
            }
        }
    }
    Err(first_error.unwrap_or(EndpointError::Missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_bad_address_has_an_error_of_its_own() {
        let connect = |endpoints: &'static [&'static str]| {
            Client::builder()
                .endpoints(endpoints.iter().copied())
                .connect()
        };
        let missing = connect(&[]).await;
        assert!(matches!(
            missing,
            Err(Error::Endpoint(EndpointError::Missing))
        ));
        let malformed = connect(&["127.0.0.1:7400", "127.0.0.1"]).await;
        assert!(matches!(
            malformed,
            Err(Error::Endpoint(EndpointError::Malformed { .. }))
        ));
        let unknown = connect(&["no-such-host.invalid:7400"]).await;
        assert!(matches!(
            unknown,
            Err(Error::Endpoint(EndpointError::Unresolvable { .. }))
        ));
        // One known host is enough, and nobody needs to listen yet.
        assert!(
            connect(&["no-such-host.invalid:7400", "127.0.0.1:9"])
                .await
                .is_ok()
        );
    }
}
