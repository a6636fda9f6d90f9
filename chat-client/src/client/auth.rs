//! Accounts come into being, and sessions begin and end.

use tonic::Request;

use super::{As, Client};
use crate::api;
use crate::api::auth_service_client::AuthServiceClient;
use crate::error::Error;
use crate::ids::{SessionId, SessionToken};
use crate::net::Channel;
use crate::timestamp::Timestamp;
use crate::types::{
    Durability, LoggedIn, LogoutScope, OpenSession, Registered, Session, parse_id, required,
};

impl Client {
    /// Creates an account. Does not log in.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a malformed name or password, [`Error::Conflict`] for a name that is taken or looks like
    /// another one.
    pub async fn register(&self, username: &str, password: &str) -> Result<Registered, Error> {
        let id = self.request_id();
        let request = api::RegisterRequest {
            request_id: id.to_string(),
            username: username.into(),
            password: password.into(),
        };
        let send = |channel: Channel, request: Request<_>| async move {
            AuthServiceClient::new(channel).register(request).await
        };
        let answer = self.write(As::Nobody, id, request, send).await?;
        Ok(Registered {
            account: required("account", answer.account)?.try_into()?,
            durability: answer.durability.into(),
        })
    }

    /// Opens a session; this client and its clones carry it from now on.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for an unknown account and for a wrong password alike.
    pub async fn login(&self, username: &str, password: &str) -> Result<LoggedIn, Error> {
        let id = self.request_id();
        let request = api::LoginRequest {
            request_id: id.to_string(),
            username: username.into(),
            password: password.into(),
        };
        let send = |channel: Channel, request: Request<_>| async move {
            AuthServiceClient::new(channel).login(request).await
        };
        let answer = self.write(As::Nobody, id, request, send).await?;
        let logged_in = LoggedIn {
            account: required("account", answer.account)?.try_into()?,
            token: SessionToken::new(answer.session_token),
            expires: Timestamp::from_unix_ms(answer.expire_time_ms),
            durability: answer.durability.into(),
        };
        self.session.set_token(Some(logged_in.token.clone()));
        Ok(logged_in)
    }

    /// Ends the session, or all of the account, and forgets it. Returns how many were ended.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] where the session had ended before.
    pub async fn logout(&self, scope: LogoutScope) -> Result<u32, Error> {
        let id = self.request_id();
        let request = api::LogoutRequest {
            request_id: id.to_string(),
            all_sessions: scope == LogoutScope::AllSessions,
        };
        let send = |channel: Channel, request: Request<_>| async move {
            AuthServiceClient::new(channel).logout(request).await
        };
        let answer = self.write(As::Session, id, request, send).await?;
        self.session.set_token(None);
        Ok(answer.sessions_closed)
    }

    /// Whose session this is.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] without a valid session.
    pub async fn who_am_i(&self) -> Result<Session, Error> {
        let request = api::WhoAmIRequest { read_token: None };
        let send = |channel: Channel, request: Request<_>| async move {
            AuthServiceClient::new(channel).who_am_i(request).await
        };
        let answer = self.read(request, send).await?;
        Ok(Session {
            account: required("account", answer.account)?.try_into()?,
            id: parse_id(&answer.session_id)?,
            expires: Timestamp::from_unix_ms(answer.expire_time_ms),
        })
    }

    /// Sets a new password. The account's other sessions end.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] where the old password is wrong, [`Error::Invalid`] where the new one is malformed.
    pub async fn change_password(&self, old: &str, new: &str) -> Result<Durability, Error> {
        let id = self.request_id();
        let request = api::ChangePasswordRequest {
            request_id: id.to_string(),
            old_password: old.into(),
            new_password: new.into(),
        };
        let send = |channel: Channel, request: Request<_>| async move {
            AuthServiceClient::new(channel)
                .change_password(request)
                .await
        };
        Ok(self
            .write(As::Session, id, request, send)
            .await?
            .durability
            .into())
    }

    /// The open sessions of the account, oldest first.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] without a valid session.
    pub async fn list_sessions(&self) -> Result<Vec<OpenSession>, Error> {
        let request = api::ListSessionsRequest { read_token: None };
        let send = |channel: Channel, request: Request<_>| async move {
            AuthServiceClient::new(channel).list_sessions(request).await
        };
        let answer = self.read(request, send).await?;
        let sessions = answer.sessions.into_iter();
        sessions
            .map(|session| {
                Ok(OpenSession {
                    id: parse_id(&session.session_id)?,
                    opened: Timestamp::from_unix_ms(session.open_time_ms),
                    expires: Timestamp::from_unix_ms(session.expire_time_ms),
                    is_this: session.current,
                })
            })
            .collect()
    }

    /// Ends one session of the account. Whoever has it is logged out, and its streams end.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the account has no such session.
    pub async fn revoke_session(&self, session: SessionId) -> Result<Durability, Error> {
        let id = self.request_id();
        let request = api::RevokeSessionRequest {
            request_id: id.to_string(),
            session_id: session.to_string(),
        };
        let send = |channel: Channel, request: Request<_>| async move {
            AuthServiceClient::new(channel)
                .revoke_session(request)
                .await
        };
        Ok(self
            .write(As::Session, id, request, send)
            .await?
            .durability
            .into())
    }
}
