//! Calls as they travel: one attempt, at one replica.

use chat_client::api;
use chat_client::api::account_service_client::AccountServiceClient;
use chat_client::api::auth_service_client::AuthServiceClient;
use chat_client::api::event_service_client::EventServiceClient;
use chat_client::api::message_service_client::MessageServiceClient;
use chat_client::{Client, Reason};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

#[derive(Clone)]
pub(crate) struct RawClient {
    pub(crate) channel: Channel,
}

impl RawClient {
    pub(crate) fn new(address: &str) -> RawClient {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        RawClient {
            channel: endpoint.connect_lazy(),
        }
    }

    /// From one of the addresses that this machine has to itself, 127.0.0.0/8: a client like one on another machine.
    pub(crate) fn from(source: &str, address: &str) -> RawClient {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        RawClient {
            channel: endpoint
                .local_address(Some(source.parse().unwrap()))
                .connect_lazy(),
        }
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    pub(crate) fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone())
    }

    pub(crate) fn messages(&self) -> MessageServiceClient<Channel> {
        MessageServiceClient::new(self.channel.clone())
    }

    pub(crate) fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn register(
        &self,
        id: &str,
        name: &str,
        password: &str,
    ) -> Result<api::RegisterResponse, Status> {
        let request = api::RegisterRequest {
            request_id: id.to_owned(),
            username: name.to_owned(),
            password: password.to_owned(),
        };
        Ok(self.auth().register(request).await?.into_inner())
    }

    pub(crate) async fn login(
        &self,
        id: &str,
        name: &str,
        password: &str,
    ) -> Result<api::LoginResponse, Status> {
        let request = api::LoginRequest {
            request_id: id.to_owned(),
            username: name.to_owned(),
            password: password.to_owned(),
        };
        Ok(self.auth().login(request).await?.into_inner())
    }
}

/// A request with the token of a session.
pub(crate) fn with_token<T>(token: &str, request: T) -> Request<T> {
    let mut request = Request::new(request);
    let header = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    request
}

/// A request in a user's name.
pub(crate) fn by<T>(user: &Client, request: T) -> Request<T> {
    with_token(user.session_token().unwrap().expose(), request)
}

/// The service's reason in a status.
pub(crate) fn reason_of(status: &Status) -> Option<Reason> {
    status.get_details_error_info()?.reason.parse().ok()
}
