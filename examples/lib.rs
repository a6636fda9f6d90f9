//! What the examples share: a cluster of replica processes on this machine that can be killed one by one, and folders that
//! are full from the start.

pub mod bulk;
mod local_cluster;
mod observe;

pub use local_cluster::{LocalCluster, Lost};
pub use observe::{Outcome, PATIENCE, in_view, led_by, same_state, same_state_of, until};
