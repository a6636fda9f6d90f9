//! An ordered, durable, replicated log of opaque commands, of which any one replica is enough.
//!
//! Three replicas, each with its own disk. A command is acknowledged once it is on the disk of every member of the
//! current *view*; when a member dies, a new view without it starts, down to a view of one. So all but one may die, and
//! nothing acknowledged is lost. The price is paid in a partition: each side may go on alone. Both histories are kept, and
//! when the sides meet the commands of the losing one are proposed again.
//!
//! [`driver::start`] runs a replica: it takes a [`store::Store`] ([`redb_store::RedbStore`]), a
//! [`transport::Transport`] ([`grpc::GrpcTransport`]) and the application's [`state_machine::StateMachine`], and gives a
//! [`handle::Handle`] to propose commands with.
//!
//! # The protocol, for those who know Raft
//!
//! A log of entries `(epoch, index, payload)`, one leader per epoch, followers that take its entries: that much is the
//! same. What differs is who must acknowledge: not a majority of a fixed configuration, but every member of a view that
//! changes with every death. So the question is not who wins an election, but who may start a view, and with whom.
//!
//! **One mechanism.** A leader's death, a member's death, a rejoin, a cold start and handing leadership back are the same
//! thing: somebody starts a view under a new epoch. Between views there is only append and acknowledge.
//!
//! 1. *Pre-ballot.* Ask everybody where they stand. It changes nothing, so it is where all waiting is done.
//! 2. *Prepare* names the new epoch and the members to be. Who promises takes nothing of a lower epoch from then on, and has
//!    that on disk before it answers. Who promises a view without itself is no longer in the old one.
//! 3. *The newest log* among the promisers is fetched by the candidate.
//! 4. *View start.* The first entry of the epoch says who its members are. When it is on the disk of each of them, the view
//!    has started, and everything before it is committed. If any of them fails before that, the epoch is abandoned.
//!
//! **When may a view start without somebody?** Let W be the view of the newest view start among those who promised. Someone
//! who is missing may be ahead only if a view newer than W has started, and that needed the promise of every one of its
//! members. A replica is *in* W if it acknowledged W's start to W's own leader, in this life of its process, and has not
//! promised a view without itself since. If one such replica has promised, no newer view can have started without it, and
//! the missing are left behind once they are suspected. If there is none, as after a restart of everybody, all members of
//! W must be there; after `recovery_grace` the replica goes on with whoever is there, and the view start says `forced`.
//! A log that was copied or replayed never puts a replica into a view: old logs are full of views of one.
//!
//! **When two leaders meet**, the higher epoch stays. The other follows it, and its log is cut back to the last entry that
//! both hold. The commands that are cut become *orphans*, in the same transaction, since any of them may have been
//! acknowledged. They are offered to the leader, appended again under the position that they once had, and forgotten when
//! they are committed in the holder's own log. A command must therefore mean the same wherever it stands, and must have an
//! effect once however often it is applied: it carries ids of its own.
//!
//! # The parts
//!
//! * [`replica`]: the protocol, without clock, disk or network. Deterministic.
//! * [`driver`]: the only place where protocol, disk and network meet, and the order of the three.
//! * [`sim`]: replicas on simulated disks, network and time, where one seed decides everything, and what must hold is checked
//!   after every step.
//!
//! # What is left out
//!
//! * Snapshots and compaction: the log grows, and a replica that was away takes the entries that it missed.
//! * Changing who the replicas are. The configuration is the one that the cluster began with; a replica whose disk was lost
//!   does not come back under its old id.
//! * A mode for which a majority is needed. [`types::Mode`] has room for it.
//! * Reads that are linearizable. Reads are of what the replica at hand has applied; a replica that was on the losing side
//!   of a partition does not tell its readers that time went back.

pub mod branch;
pub mod driver;
pub mod grpc;
pub mod handle;
pub mod memory_store;
pub mod memory_transport;
pub mod message;
pub mod redb_store;
pub mod replica;
pub mod sim;
pub mod state_machine;
pub mod status;
pub mod store;
pub mod transport;
pub mod types;
