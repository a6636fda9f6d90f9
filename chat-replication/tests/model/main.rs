//! Real replicas in a model checker: every schedule within small bounds.
//!
//! A replica is a value: it is cloned for each thing that may happen next, and what it wants done is done to a disk that is
//! a value too. Nothing of the protocol is written down a second time here.
//!
//! What may happen, in any order:
//!
//! * the oldest message between two replicas arrives (a connection keeps order, loses nothing, and repeats nothing);
//! * a timer fires: the clock of one replica goes on until it has something to do;
//! * a replica learns that another is gone, while it is down or cut off, and only then;
//! * a leader is given a command;
//! * a process dies, at rest, or before or after any of the first two writes of what it is doing, and what it had sent
//!   arrives or is lost; it starts again from its disk;
//! * a replica is cut off from all others, with the loss of what was on its way, and the cut heals.
//!
//! The bounds are in [`bounds::Bounds`]: how often each of these may happen. What is simplified:
//!
//! * Timers fire in any order between replicas, but, unless the bounds say otherwise, only when no message is on its way.
//!   Silence does not add up to suspicion: that somebody is gone comes as news, as from a refused connection. So no
//!   replica is suspected falsely without a cut, no slow one is left out, and the recovery grace never ends.
//! * Jitter is always the least there is.
//! * A write is done wholly or not at all, and nothing is lost that was written. Disks are not wiped, logs not compacted,
//!   members not changed, reads not confirmed: the simulator does all that.
//! * A reconnection is noticed with the first message, and a new process hears nothing of what was sent to the one before.
//! * States that differ in nothing but clocks are one state ([`canon`]). That is exact as far as fields are compared by how
//!   far away they are; whatever is compared with endless timeouts alone is left out.
//!
//! `CHAT_MODEL_LARGE=1` widens the bounds, for a release build and minutes. `CHAT_MODEL="replicas=2 crashes=3"` explores
//! bounds of one's own, with `--nocapture bounds_from`; see `scenarios` for the words.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bounds;
mod canon;
mod cluster;
mod mutations;
mod node;
mod rules;
mod scenarios;
