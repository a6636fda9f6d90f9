//! The client: one method for each call of the service.

mod accounts;
mod auth;
mod cluster;
mod messages;
mod tokens;

use std::sync::Arc;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use crate::builder::{Builder, Proxying, Reads};
use crate::endpoint::Endpoint;
use crate::error::{Error, Refusal};
use crate::events::ClientEvents;
use crate::ids::{ReadToken, RequestId, SessionToken};
use crate::net::{Answer, Channel, Net, Purpose};
use crate::reason::Reason;
use crate::session::SessionState;
pub(crate) use messages::sent;
use tokens::HasReadToken;

/// In whose name a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    /// Whoever is logged in.
    Session,
    /// Nobody: a session that has ended must not stand in the way of a new one.
    Nobody,
}

/// Asks a replica not to pass the call on, but to say who leads.
const NO_PROXY: &str = "x-chat-no-proxy";

/// What this client has seen already.
const READ_TOKEN: &str = "x-chat-read-token-bin";

/// Asks for everything that anybody was told before the call.
const LINEARIZABLE: &str = "x-chat-linearizable";

/// How often a read token of a lost history may be dropped in the course of one call: histories merge rarely.
const LOST_HISTORIES: usize = 3;

/// Answers hold up to 1000 messages.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// A client of the chat service. Cheap to clone; clones share connections, session and read token.
///
/// Every call is tried at one replica after the other until one answers or the total deadline has passed. Each write
/// has a request id, the same for all its attempts, so that it takes effect once. After its own writes a client never
/// reads an older state, whichever replica answers. (Of two writes under way at the same moment, the one answered last
/// decides what later reads must show.)
///
/// ```no_run
/// # async fn example() -> Result<(), chat_client::Error> {
/// use chat_client::Client;
///
/// let client = Client::connect(["127.0.0.1:7400", "127.0.0.1:7401"]).await?;
/// client.login("alice", "correct horse battery staple").await?;
/// let sent = client.send_message("bob", "good morning").await?;
/// println!("{}, stored on {}", sent.state, sent.durability); // queued, stored on 3 of 3
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) net: Arc<Net>,
    pub(crate) session: Arc<SessionState>,
    /// Given by the caller, who wants to repeat a write.
    fixed_id: Option<RequestId>,
}

impl Client {
    /// A client with default settings. See [`Builder::connect`].
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect<I>(endpoints: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: ToString,
    {
        Self::builder().endpoints(endpoints).connect().await
    }

    /// Sets up a client step by step.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(net: Arc<Net>, session: Option<SessionToken>) -> Self {
        Self {
            net,
            session: Arc::new(SessionState::new(session)),
            fixed_id: None,
        }
    }

    /// A client over the same connections, for another user: with a session and a read token of its own.
    pub fn with_session(&self, session: Option<SessionToken>) -> Self {
        Self::new(Arc::clone(&self.net), session)
    }

    /// A client whose writes carry this request id: to repeat a write whose outcome is unknown, with the id from
    /// [`Error::request_id`]. A second, different write under the same id is refused.
    pub fn with_request_id(&self, id: RequestId) -> Self {
        Self {
            fixed_id: Some(id),
            ..self.clone()
        }
    }

    /// The session that calls carry.
    pub fn session_token(&self) -> Option<SessionToken> {
        self.session.token()
    }

    /// Sets or forgets the session that calls carry. Nothing is sent; [`Client::logout`] ends a session.
    pub fn set_session_token(&self, token: Option<SessionToken>) {
        self.session.set_token(token);
    }

    /// How much this client has seen, for a later one that must not see less.
    pub fn read_token(&self) -> Option<ReadToken> {
        self.session.read_token()
    }

    /// Makes reads show at least what another client has seen.
    pub fn set_read_token(&self, token: Option<ReadToken>) {
        self.session.set_read_token(token);
    }

    /// The addresses that are tried: those given first, then those that replicas told of.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.net.endpoints()
    }

    /// What the client does on its own, from now on: switches of the replica and of the leader, and waiting.
    pub fn events(&self) -> ClientEvents {
        self.net.events()
    }

    fn request_id(&self) -> RequestId {
        self.fixed_id.unwrap_or_else(RequestId::mint)
    }

    /// Sends a write; all attempts carry the id that stands in the request.
    async fn write<Req, Res, F, Fut>(
        &self,
        caller: As,
        id: RequestId,
        request: Req,
        send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        Res: HasReadToken,
        F: Fn(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        self.write_for(Purpose::Write, caller, id, request, send)
            .await
    }

    /// Sends a write of some kind.
    async fn write_for<Req, Res, F, Fut>(
        &self,
        purpose: Purpose,
        caller: As,
        id: RequestId,
        request: Req,
        send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        Res: HasReadToken,
        F: Fn(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let mut answer = self
            .attempts(caller, purpose, Some(id), request, send)
            .await?;
        self.session.wrote(answer.take_read_token());
        Ok(answer)
    }

    /// Sends a read. The read token travels in the metadata, so that each attempt carries the latest.
    async fn read<Req, Res, F, Fut>(&self, request: Req, send: F) -> Result<Res, Error>
    where
        Req: Clone,
        Res: HasReadToken,
        F: Fn(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let began = self.session.version();
        let mut answer = self
            .attempts(As::Session, Purpose::Read, None, request, send)
            .await?;
        self.session.read(answer.take_read_token(), began);
        Ok(answer)
    }

    async fn attempts<Req, Res, F, Fut>(
        &self,
        caller: As,
        purpose: Purpose,
        id: Option<RequestId>,
        request: Req,
        send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        F: Fn(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let authorization = match caller {
            As::Session => self.authorization()?,
            As::Nobody => None,
        };
        let attempt = |attempt: crate::net::Attempt| {
            let mut request = self.envelope(request.clone(), authorization.clone());
            // The replica need not go on with what nobody waits for.
            request.set_timeout(attempt.deadline);
            let sent = send(attempt.channel, request);
            async move { sent.await.map(Response::into_inner) }
        };
        for _ in 0..LOST_HISTORIES {
            let seen = self.session.read_token();
            match self.net.call(purpose, id, None, &attempt).await {
                Err(error) if self.drop_lost_history(&error, seen.as_ref()) => {}
                answer => return answer.map(|Answer { value, .. }| value),
            }
        }
        let Answer { value, .. } = self.net.call(purpose, id, None, attempt).await?;
        Ok(value)
    }

    /// What was seen is of a history that another one took the place of. It is read anew then. Says whether that is so.
    pub(crate) fn drop_lost_history(&self, error: &Error, seen: Option<&ReadToken>) -> bool {
        let is_lost = error.reason() == Some(Reason::HistoryChanged) && seen.is_some();
        if is_lost {
            self.session.forget(seen);
        }
        is_lost
    }

    /// A request with the metadata that all calls carry.
    pub(crate) fn envelope<Req>(
        &self,
        request: Req,
        authorization: Option<MetadataValue<Ascii>>,
    ) -> Request<Req> {
        let mut request = Request::new(request);
        let metadata = request.metadata_mut();
        if let Some(authorization) = authorization {
            metadata.insert("authorization", authorization);
        }
        if let Some(token) = self.session.read_token() {
            metadata.insert_bin(
                READ_TOKEN,
                tonic::metadata::MetadataValue::from_bytes(&token.0),
            );
        }
        if self.net.settings.reads == Reads::Linearizable {
            metadata.insert(LINEARIZABLE, MetadataValue::from_static("1"));
        }
        if self.net.settings.proxying == Proxying::ByClient {
            metadata.insert(NO_PROXY, MetadataValue::from_static("1"));
        }
        request
    }

    /// The header that proves the session.
    pub(crate) fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, Error> {
        let Some(token) = self.session.token() else {
            return Ok(None);
        };
        // A token that no header can hold was never issued by the service.
        let header = format!("Bearer {}", token.expose()).parse().map_err(|_| {
            Error::Unauthenticated(Refusal {
                reason: Some(Reason::Unauthenticated),
                message: "the session token is malformed".into(),
                fields: Vec::new(),
            })
        })?;
        Ok(Some(header))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.endpoints())
            .finish_non_exhaustive()
    }
}
