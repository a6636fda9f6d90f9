//! What is measured of this service alone: how its cost grows.

pub(crate) mod history;
pub(crate) mod serving;
pub(crate) mod subscribers;
