//! The services of `chat.v1`. Each method says what it does; where it is done is the business of [`app`](crate::app).

mod accounts;
mod auth;
mod cluster;
mod events;
mod messages;
mod metadata;
mod passwords;
mod refusal;
mod sessions;
pub(crate) mod wire;

use std::sync::Arc;

use chat_client::api::account_service_server::AccountServiceServer;
use chat_client::api::auth_service_server::AuthServiceServer;
use chat_client::api::cluster_service_server::ClusterServiceServer;
use chat_client::api::event_service_server::EventServiceServer;
use chat_client::api::message_service_server::MessageServiceServer;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

pub(crate) use self::metadata::{context, seen, timeout_of};
pub(crate) use self::refusal::understood;
use crate::app::node::Node;
use crate::app::throttle::Place;
use crate::app::{self, Write};

/// Carries a write out, here or at the leader.
async fn write<W: Write>(node: &Node, request: Request<W>) -> Result<Response<W::Answer>, Status> {
    app::write(node, context(&request), request).await
}

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
