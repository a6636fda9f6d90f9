//! The services of `chat.v1`. Each method says what it does; where it is done is the business of [`app`](crate::app).

mod accounts;
mod auth;
mod cluster;
pub(crate) mod context;
mod events;
mod messages;
mod passwords;
mod sessions;
pub(crate) mod wire;

use std::sync::Arc;

use chat_client::api::account_service_server::AccountServiceServer;
use chat_client::api::auth_service_server::AuthServiceServer;
use chat_client::api::cluster_service_server::ClusterServiceServer;
use chat_client::api::event_service_server::EventServiceServer;
use chat_client::api::message_service_server::MessageServiceServer;
use tonic::Response;
use tonic::service::Routes;

pub(crate) use self::context::{Context, timeout_of};
use crate::app::node::Node;
use crate::app::throttle::Place;

/// One replica's services.
#[derive(Clone)]
pub(crate) struct Services {
    node: Arc<Node>,
}

impl Services {
    pub(crate) fn new(node: Arc<Node>) -> Services {
        Services { node }
    }

    pub(crate) fn messages(&self) -> MessageServiceServer<Services> {
        let largest = self.node.limits().request_bytes;
        MessageServiceServer::new(self.clone()).max_decoding_message_size(largest)
    }

    /// All but those about messages.
    pub(crate) fn routes(self) -> Routes {
        let largest = self.node.limits().request_bytes;
        Routes::new(AuthServiceServer::new(self.clone()).max_decoding_message_size(largest))
            .add_service(AccountServiceServer::new(self.clone()).max_decoding_message_size(largest))
            .add_service(EventServiceServer::new(self.clone()).max_decoding_message_size(largest))
            .add_service(ClusterServiceServer::new(self).max_decoding_message_size(largest))
    }
}

/// An answer that takes its place with it until it is read.
fn listed<T>(place: Arc<Place>, list: T) -> Response<T> {
    let mut response = Response::new(list);
    response.extensions_mut().insert(place);
    response
}
