//! What tells operators and their tools how a replica is: readiness, health, metrics.

pub(crate) mod admin;
pub(crate) mod condition;
mod health;
mod metrics;
mod page;
mod readiness;
mod waiting;

pub(crate) use self::health::{health, reflection};
pub(crate) use self::metrics::{Metrics, OnlineStream};
pub(crate) use self::page::{Page, serve_page};
pub(crate) use self::readiness::{Readiness, follow};
pub(crate) use self::waiting::tell_of_waiting;
