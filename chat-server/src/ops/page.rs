//! A listener of its own for tools that know HTTP: `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use chat_replication::handle::Handle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use super::{Metrics, Readiness};
use crate::ops::condition::{Conditions, named};
use crate::store::state::{Response, StateReader};

/// What OpenMetrics calls itself.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) handle: Handle<Response>,
    pub(crate) state: StateReader,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: watch::Receiver<Readiness>,
    pub(crate) conditions: Arc<Conditions>,
}

/// Serves until it is aborted: a replica that goes away is looked at until its end.
pub(crate) fn serve_page(listener: TcpListener, page: Page) -> JoinHandle<()> {
    let routes = Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(page);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            warn!(%error, "the listener for metrics has ended");
        }
    })
}

async fn alive(State(page): State<Page>) -> impl IntoResponse {
    match page.handle.status_changes().has_changed() {
        Ok(_) => (StatusCode::OK, "alive\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the replica has ended\n"),
    }
}

async fn ready(State(page): State<Page>) -> impl IntoResponse {
    match &*page.readiness.borrow() {
        Readiness::Ready => (
            StatusCode::OK,
            // Reads are answered all the same.
            match page.conditions.low_disks().as_slice() {
                [] => "ready\n".to_owned(),
                low => format!(
                    "ready, but nothing is written: the disk of {} is nearly full\n",
                    named(low)
                ),
            },
        ),
        Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(page): State<Page>) -> impl IntoResponse {
    let state = page.state.clone();
    // Waits for the batch that is being applied.
    let stats = tokio::task::spawn_blocking(move || state.stats());
    let stats = stats
        .await
        .ok()
        .and_then(Result::ok)
        .map(|(stats, _)| stats);
    let is_ready = *page.readiness.borrow() == Readiness::Ready;
    let ends = page.conditions.certificate_ends();
    let text = page
        .metrics
        .page(&page.handle.status(), stats, is_ready, ends);
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}
