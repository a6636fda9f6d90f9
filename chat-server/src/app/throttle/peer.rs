//! Who is at the other end of a connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use chat_replication::types::ReplicaId;

/// Who is at the other end of a call's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    /// Where it is; an IPv6 host stands for its network.
    pub(crate) address: IpAddr,
    /// The replica that it has proven to be, which passes on the calls of others.
    pub(crate) replica: Option<ReplicaId>,
}

/// What a call knows of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    /// Bytes of requests that are not whole yet.
    pub(crate) held: Arc<AtomicUsize>,
}

/// An IPv6 host has a whole network of 64 bits to itself, and could be somebody else with each connection.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(host) => {
            let bits = u128::from(host) & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
        address => address,
    }
}
