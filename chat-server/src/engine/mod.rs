//! Where commands go, and what comes back: the replicas' log, its leader, and what replicas tell each other beside it.

mod difference;
pub(crate) mod leadership;
pub(crate) mod orders;
pub(crate) mod words;

pub(crate) use self::difference::{differences, warn_of_differences};
pub(crate) use self::orders::Orders;
