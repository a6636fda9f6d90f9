//! Soft state: who subscribes, and who is online. Never written down.

pub(crate) mod hub;
pub(crate) mod place;
pub(crate) mod presence;
