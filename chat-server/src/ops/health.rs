//! The standard services of gRPC that say whether a server is well, and what it offers.

use chat_client::api::FILE_DESCRIPTOR_SET;
use chat_client::api::account_service_server::SERVICE_NAME as ACCOUNTS;
use chat_client::api::auth_service_server::SERVICE_NAME as AUTH;
use chat_client::api::cluster_service_server::SERVICE_NAME as CLUSTER;
use chat_client::api::event_service_server::SERVICE_NAME as EVENTS;
use chat_client::api::message_service_server::SERVICE_NAME as MESSAGES;
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use super::Readiness;

/// The server as a whole has the empty name. The cluster's own state is told even by a replica that is not ready.
const NAMES: [&str; 6] = ["", ACCOUNTS, AUTH, CLUSTER, EVENTS, MESSAGES];

/// `grpc.health.v1`: serving while the replica is ready.
pub(crate) async fn health(mut readiness: watch::Receiver<Readiness>) -> HealthServer<impl Health> {
    let reporter = HealthReporter::new();
    tell(&reporter, &readiness.borrow_and_update().clone()).await;
    let service = HealthService::from_health_reporter(reporter.clone());
    tokio::spawn(async move {
        while readiness.changed().await.is_ok() {
            let now = readiness.borrow_and_update().clone();
            tell(&reporter, &now).await;
        }
    });
    HealthServer::new(service)
}

async fn tell(reporter: &HealthReporter, readiness: &Readiness) {
    let status = match readiness {
        Readiness::Ready => ServingStatus::Serving,
        Readiness::NotReady(_) => ServingStatus::NotServing,
    };
    for name in NAMES {
        reporter.set_service_status(name, status).await;
    }
}

/// `grpc.reflection.v1`: the public API's own description.
pub(crate) fn reflection() -> ServerReflectionServer<impl ServerReflection> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the description was made by the compiler that made the code")
}
