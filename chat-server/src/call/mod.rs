//! How a call is carried out: where, for whom, and until when.

mod barrier;
mod caller;
mod context;
mod read;
mod write;

pub(crate) use self::barrier::{Barriers, barrier, make_sure};
pub(crate) use self::caller::Caller;
pub(crate) use self::context::{Context, timeout_of};
pub(crate) use self::read::{Place, find, look, read};
pub(crate) use self::write::{Write, write, write_as};
