//! The use cases: who asks, may they, which command, which query.

mod barrier;
mod caller;
pub(crate) mod error;
pub(crate) mod hashing;
pub(crate) mod housekeeping;
pub(crate) mod node;
mod read;
pub(crate) mod session;
pub(crate) mod throttle;
mod write;

pub(crate) use self::barrier::{Barriers, barrier, make_sure};
pub(crate) use self::caller::Caller;
pub(crate) use self::read::{Place, find, look, read};
pub(crate) use self::write::{Write, write, write_as};
