//! The values that commands carry, each parsed once, at the edge.

pub(crate) mod body;
pub(crate) mod id;
pub(crate) mod name;
pub(crate) mod secret;
pub(crate) mod time;
