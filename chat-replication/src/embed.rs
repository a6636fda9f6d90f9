//! A replica in two lines, with what this crate brings: on files and gRPC, or all in memory.
//!
//! Whoever needs other settings, or another disk or network, calls [`start`] with their own.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::disk_store::DiskStore;
use crate::driver::{Options, Running, StartError, start};
use crate::grpc::{GrpcSettings, GrpcTransport};
use crate::handle::Handle;
use crate::memory_store::MemoryStore;
use crate::memory_transport::MemoryNetwork;
use crate::state_machine::StateMachine;
use crate::store::Identity;
use crate::types::{ClusterId, ReplicaId, StoreUuid};

/// Starts a replica whose log is in a folder and which listens at its own address among [`Options::seeds`].
///
/// Peers speak to each other unencrypted and unauthenticated: for a network that nobody else is in.
pub fn on_disk<M: StateMachine>(
    folder: &Path,
    cluster: ClusterId,
    me: ReplicaId,
    options: Options,
    machine: M,
) -> Result<(Handle<M::Response>, Running), StartError> {
    let peers: Vec<_> = options
        .seeds
        .iter()
        .map(|seed| (seed.id, seed.peer_address.clone()))
        .collect();
    let own = peers.iter().find(|(id, _)| *id == me);
    let own = own.map(|(_, address)| address.clone()).ok_or_else(|| {
        let what = format!("replica {me} is not among the seeds; add it with its address");
        StartError::Transport(io::Error::new(io::ErrorKind::InvalidInput, what).into())
    })?;
    let store = DiskStore::open(folder, cluster, me)?;
    let connect = move |inbox, identity: Identity| {
        let listener = GrpcTransport::bind(&own)?;
        GrpcTransport::start(listener, identity, GrpcSettings::default(), inbox, &peers)
    };
    start(store, machine, options, connect, |_, _| ())
}

/// Starts a replica that forgets everything when it ends, among those of a network in this process.
pub fn in_memory<M: StateMachine>(
    network: &MemoryNetwork,
    cluster: ClusterId,
    me: ReplicaId,
    options: Options,
    machine: M,
) -> Result<(Handle<M::Response>, Running), StartError> {
    let store = MemoryStore::new(Identity {
        cluster,
        replica: me,
        store: StoreUuid(Uuid::new_v4()),
    });
    let connect = |inbox, me: Identity| Ok::<_, io::Error>(network.connect(me.peer_id(), inbox));
    start(store, machine, options, connect, |_, _| ())
}
