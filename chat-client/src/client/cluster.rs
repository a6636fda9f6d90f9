//! How the cluster is.

use tokio::task::JoinSet;
use tonic::{Request, Response};

use super::Client;
use crate::api;
use crate::api::cluster_service_client::ClusterServiceClient;
use crate::cluster::ClusterStatus;
use crate::endpoint::{Endpoint, EndpointError};
use crate::error::Error;
use crate::net::{Attempt, Purpose};

impl Client {
    /// The cluster as the current replica sees it. Needs no session.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and its kin when no replica answers.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        let answer = self.net.call(Purpose::Read, None, None, fetch).await?;
        let status = ClusterStatus::from(answer.value);
        self.net.learn(answer.replica, &status);
        Ok(status)
    }

    /// The cluster as the replica at this address sees it. One attempt, at no other replica.
    ///
    /// # Errors
    /// [`Error::NothingListens`], [`Error::Timeout`] or [`Error::Unavailable`] when it does not answer, and
    /// [`Error::Endpoint`] for an address that is none of [`Client::endpoints`].
    pub async fn cluster_status_of(&self, endpoint: &Endpoint) -> Result<ClusterStatus, Error> {
        let replica = self
            .net
            .index_of(endpoint)
            .ok_or_else(|| EndpointError::Malformed {
                input: endpoint.to_string(),
                problem: "the client was not given this address",
            })?;
        let status = ClusterStatus::from(self.net.ask(replica, fetch).await?);
        self.net.learn(replica, &status);
        Ok(status)
    }

    /// The cluster as each of its replicas sees it, in the order of [`Client::endpoints`].
    pub async fn cluster_status_everywhere(&self) -> Vec<(Endpoint, Result<ClusterStatus, Error>)> {
        let mut asking = JoinSet::new();
        for (place, endpoint) in self.endpoints().into_iter().enumerate() {
            let client = self.clone();
            asking.spawn(async move {
                let status = client.cluster_status_of(&endpoint).await;
                (place, endpoint, status)
            });
        }
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(place, ..)| *place);
        answers
            .into_iter()
            .map(|(_, endpoint, status)| (endpoint, status))
            .collect()
    }
}

async fn fetch(attempt: Attempt) -> Result<api::GetClusterStatusResponse, tonic::Status> {
    let mut request = Request::new(api::GetClusterStatusRequest {});
    request.set_timeout(attempt.deadline);
    ClusterServiceClient::new(attempt.channel)
        .get_cluster_status(request)
        .await
        .map(Response::into_inner)
}
