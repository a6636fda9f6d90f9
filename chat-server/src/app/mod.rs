//! The use cases: who asks, may they, which command, which query.

mod barrier;
mod caller;
pub(crate) mod context;
pub(crate) mod error;
pub(crate) mod hashing;
pub(crate) mod housekeeping;
pub(crate) mod node;
pub(crate) mod proxy;
mod read;
pub(crate) mod request;
pub(crate) mod session;
pub(crate) mod throttle;
pub(crate) mod token;
mod wait;
mod write;

pub(crate) use self::barrier::{Barriers, barrier, make_sure};
pub(crate) use self::caller::Caller;
pub(crate) use self::context::Context;
pub(crate) use self::read::{look, read};
pub(crate) use self::wait::{Place, find};
pub(crate) use self::write::{Write, write, write_as};
