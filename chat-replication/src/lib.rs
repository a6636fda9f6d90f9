//! An ordered, durable, replicated log of opaque commands, of which any one replica is enough.
//!
//! Three replicas, each with its own disk. A command is acknowledged once it is on the disk of every member of the
//! current *view*; when a member dies, a new view without it starts. How small a view may be is one number:
//!
//! | mode | a view needs | what is promised |
//! |---|---|---|
//! | [`Available`](types::Mode::Available) | one replica | Any one live replica serves: three replicas survive two crashes. Every acknowledged command takes effect exactly once, unless every disk that held it is destroyed. If a partition or a false suspicion made two leaders, their histories are merged when they meet: order, and the outcome of conflicting commands, may change then. |
//! | [`Consistent`](types::Mode::Consistent) | a majority | Linearizable, partitions included: three replicas survive one crash, five survive two. Below a majority it stops rather than fork. |
//!
//! [`driver::start`] runs a replica: it takes a [`store::Store`] ([`disk_store::DiskStore`]), a
//! [`transport::Transport`] ([`grpc::GrpcTransport`]) and the application's [`state_machine::StateMachine`], and gives a
//! [`handle::Handle`] to propose commands with.
//!
//! A state that fits into memory needs no more than one function, [`whole_state::Application::apply`], and [`embed`] starts
//! a replica of it in one call:
//!
//! ```
//! use bytes::Bytes;
//! use chat_replication::driver::Options;
//! use chat_replication::embed::in_memory;
//! use chat_replication::memory_transport::MemoryNetwork;
//! use chat_replication::replica::Seed;
//! use chat_replication::types::{ClusterId, ReplicaId};
//! use chat_replication::whole_state::{Application, WholeState};
//! use serde::{Deserialize, Serialize};
//! use uuid::Uuid;
//!
//! #[derive(Serialize, Deserialize, Default)]
//! struct Counter(u64);
//!
//! impl Application for Counter {
//!     type Response = u64;
//!
//!     fn apply(&mut self, _command: &[u8]) -> u64 {
//!         self.0 += 1;
//!         self.0
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let me = Seed {
//!     id: ReplicaId(0),
//!     peer_address: "in this process".into(),
//!     client_address: String::new(),
//! };
//! let (network, cluster) = (MemoryNetwork::new(), ClusterId(Uuid::new_v4()));
//! let counter = WholeState::<Counter>::in_memory();
//! let (handle, running) = in_memory(&network, cluster, me.id, Options::new(vec![me]), counter)?;
//! let counted = loop {
//!     match handle.propose(Bytes::new()).await {
//!         Ok(done) => break done,
//!         // Nobody leads yet.
//!         Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
//!     }
//! };
//! assert_eq!((counted.response, counted.durable_on), (Ok(1), 1));
//! running.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The protocol, for those who know Raft
//!
//! A log of entries `(epoch, index, payload)`, one leader per epoch, followers that take its entries: that much is the
//! same. What differs is who must acknowledge: not a majority of a fixed configuration, but every member of a view that
//! changes with every death. So the question is not who wins an election, but who may start a view, and with whom.
//!
//! ## One mechanism
//!
//! A leader's death, a member's death, a rejoin, a cold start, handing leadership back, adding and removing a replica are
//! the same thing: somebody starts a view under a new epoch. Between views there is only append and acknowledge.
//!
//! 1. *Pre-ballot.* Ask everybody where they stand. It changes nothing, so it is where all waiting is done: a candidate
//!    that waited after it had taken promises would stop those who gave them.
//! 2. *Prepare* names the new epoch and the members to be. Who promises takes nothing of a lower epoch from then on, and has
//!    that on disk before it answers. Who promises a view without itself is no longer in the old one. With the promise it
//!    says again where it stands, and the candidate decides anew: somebody else may have got further in between.
//! 3. *The newest log* among the promisers is fetched by the candidate: the one whose last entry has the greatest epoch, then
//!    the greatest index. Not the one with the greatest promise: a promise says nothing of what is in the log.
//! 4. *View start.* The first entry of the epoch says who its members are. It leaves its leader only once it is on the
//!    leader's own disk: a member that had it could go on from that view alone, while the leader, restarted, knew nothing of
//!    it and went on from the one before. When it is on the disk of every member, the view has started, and everything
//!    before it is committed. If any of them fails before that, the epoch is abandoned.
//!
//! An entry counts as committed by the acknowledgements of its own view only: an index that a majority once had may still be
//! overwritten by a leader that never saw it (Raft's figure 8), an entry behind a view start that all members hold may not.
//!
//! ## When may a view start without somebody?
//!
//! `Consistent`: promisers and members each hold a majority of the newest configuration among the promisers. Two
//! majorities share a replica, so whatever was committed is in some promiser's log, and the leader before has lost its own.
//!
//! `Available`: let W be the view of the newest view start among those who promised. Someone who is missing may be ahead
//! only if a view newer than W has started, and that needed the promise of every one of its members. A replica is *in* W if
//! it acknowledged W's start to W's own leader, in this life of its process, and has not promised a view without itself
//! since. If one such replica has promised, no newer view can have started without it, and the missing are left behind once
//! they are dead: suspected, or known to have lost their disk. One that is merely slow is left out only with its promise.
//! If there is no such replica, as after a restart of everybody, all members of W must be there, and whoever led a newer
//! epoch that one of them promised; after `recovery_grace` the replica goes on with whoever is there, and the view start
//! says `forced`. A log that was copied or replayed never puts a replica into a view: old logs are full of views of one, and
//! a replica that believed them would go on from any of them.
//!
//! So two quick deaths cost nothing, a cold start waits for the right replicas and says for which, and without a partition or
//! a false suspicion there is one history.
//!
//! ## Suspicion
//!
//! A refused connection is evidence at once; silence only after `suspect`. A leader is live while its heartbeats arrive,
//! show that it hears this replica, and report progress: one that hears nobody, or whose disk hangs, is as bad as a dead one.
//! Nobody takes a live leader away: a candidate is refused by whoever follows one, so a replica behind a bad link cannot
//! unseat it again and again. Followers ask each other now and then for a word, or each would take the other's silence for
//! death once the leader is gone. A replica whose own time jumped treats itself as restarted.
//!
//! ## When two leaders meet
//!
//! The higher epoch stays. Leaders send heartbeats to every configured replica for ever, members or not: that is how they
//! meet. The other follows, and its log is cut back to the last entry that both hold, found by comparing the
//! [branch tables](branch::BranchTable), never by a commit index. The commands that are cut become *orphans*, in the same
//! transaction, since any of them may have been acknowledged. They are offered to the leader, appended again under the
//! position that they once had, and forgotten when they are committed in the holder's own log: not when they are offered,
//! nor when others have them. A command must therefore mean the same wherever it stands, and must have one effect however
//! often it is applied: it carries ids of its own, and the application remembers them as a set. What "everything up to here"
//! means to a command depends on where it stood, though, so an orphan takes its [lineage](types::Lineage) along: up to where
//! its own branch and the one that won are the same, and which epochs it stood behind after that. By these the application
//! tells what the command's author can have seen. Where a majority is needed,
//! what it acknowledged is cut only where a view was forced, on this branch or on the one that wins, since the two parted:
//! only then orphans are kept.
//!
//! ## Who the replicas are
//!
//! The configuration is in the view starts and nowhere else, so a change of it is a view under the same rules, one at a time.
//! A replica is named by its id and the uuid of its disk. One that is added follows as a learner until it has caught up. One
//! whose disk was lost comes back with another uuid: what it had promised is forgotten, so it has no vote, and what it
//! acknowledges or confirms counts for nothing, until the new disk has caught up and taken the old one's place. Nor do empty
//! disks begin a cluster if one of them has promised an epoch to a disk that is not among them: they may have taken the place
//! of lost ones. One that was removed is told so, hands over what it still holds, and never
//! leads again: even if its epoch is higher, it is refused by whoever knows. Only where it was removed on one side of a fork,
//! and others of that side's own configuration follow it in a higher epoch, the removal is lost with the branch, and the
//! operator is told: those others know nothing of it, so nothing that they lack was dropped. And a removal by a side that may
//! drop nothing for it yields to a higher epoch, so that two sides that have removed each other find together.
//! Where others follow a removed disk they have to say so themselves; apart from that, all that counts of what it says is its
//! question where the others stand, and, as a follower, what it takes to hand over. To the application it is nobody, and so is
//! a disk that comes in its place under the same id until it has the vote.
//!
//! ## New versions
//!
//! Replicas are brought up to date one after the other, so for a while they run different software. What they must not do is
//! give one command two effects. Each view start therefore names the version of the rules that it is applied by, the lowest
//! among its members ([`state_machine::StateMachine::apply_version`]), and everybody applies the entries behind it by that
//! version. So a new rule begins at one place of the log, once all members know it. A replica with older software keeps the log,
//! but applies nothing of what it does not understand, takes no snapshot of it, and is no member of a view; its status says
//! what it waits for.
//!
//! ## Short logs
//!
//! Entries are dropped once nobody can need them. Three may: a replica that lacks them, a branch that loses and has to
//! keep what was acknowledged on it, and the state machine, which after a crash begins from its last checkpoint.
//!
//! So an entry goes only when every *configured* replica, not just every member of the view, has acknowledged it to the
//! present leader, and below the last durable checkpoint. In a system where one replica is enough, "a majority has it" says
//! nothing: whoever is away may have gone on alone from that very entry, and its log can be joined to the others' only
//! while both still hold the place where they parted. Followers learn the limit from heartbeats and drop no entry that
//! they have not verified themselves in this epoch. The branch table keeps the last thousand epochs or so, so two logs can
//! be compared, however little is left of them; one that parts from the others before that is treated as all of it a branch.
//! A start reads only the newest of the files that the entries are in.
//!
//! ## Who is away for long
//!
//! A replica that stays away must not fill the disks of the others. Past a limit of bytes, time or views the leader removes
//! it, says so, and what it lacks is dropped. (Where a majority is enough, [`log_cap`](replica::Settings::log_cap) entries are
//! kept for it even until then, as its branch holds nothing that counts.) When it is back it is told, follows, hands over what
//! only it has, and then its disk takes a new name, keeps its state, and is added again like the new disk of an old replica.
//!
//! Where one replica is enough, that could lose what was acknowledged: two sides of a partition that each remove the other,
//! and each drop what the other lacks, cannot be joined any more, since commands can only be handed over while a log has them.
//! So only one of them may drop: the one whose view has a majority of the disks that *decide*, or half of them with the
//! lowest ([`Configuration::may_drop`](types::Configuration::may_drop)). The disks that decide are the members of the last
//! configuration that all disks know of which may come back; until all know of a newer one, its own members must agree as
//! well. Any two such views share a disk. The other side removes nobody by itself, and where an operator has it remove somebody, it
//! keeps its log from the place on where that one may have parted from it, until it is back and drained, or the operator has said
//! that it is destroyed.
//!
//! When they meet, the side that has dropped something stays, however new the other one is: the other cannot be told what was
//! dropped, but it still has all of its own. A follower that has dropped what its leader lacks does not take the leader's
//! snapshot in its place; the leader yields. Where both have dropped something, the disk that both views had brought what the
//! earlier one had dropped over to the later one, as orphans; so the one that dropped in the later epoch stays.
//!
//! ## Snapshots
//!
//! Who needs what is gone takes a snapshot of the leader's state: a new disk, a replica that was away beyond the cap, one
//! whose state has to be undone to before its last checkpoint. It is read from a checkpoint while the state goes on, by
//! a thread of its own, and a few pieces are on their way at once, so no acknowledgement waits for it; and the log is kept
//! from its position on until its receiver follows again, for a snapshot that arrives when the entries behind it are gone
//! has to be sent again, for ever under load.
//!
//! It carries the branch table, for the receiver's log does not vanish under it. That log is treated as if entries had come:
//! it is cut at the common ancestor, and what was cut becomes orphans, in the transaction that lets the log begin anew behind
//! the snapshot. A snapshot that simply replaced the log would lose what was acknowledged on a losing branch. Nor does it
//! bring a promise or orphans of its own: a promise that goes back lets two leaders have one epoch's acknowledgements.
//!
//! State and log are two files, and the state comes first: it remembers, in the transaction that swaps it, what the log is to
//! be. After a crash between the two the next start does the log's part before it says a word to anybody. The other way
//! round, a log without its state would be acknowledged and could not be rebuilt. While a replica swaps it is silent, as it
//! stands in two places.
//!
//! A candidate whose log ends, or would be cut, below what the donor has dropped cannot be brought forward by entries, so
//! it does not go on: it lets another lead, and learns. So does one to whom the newest log would cost its state, as it was
//! checkpointed on a branch that loses: a leader without a state serves nobody, and the next who takes its log loses its own,
//! until nobody has any. Whoever led the newest log has the state to it; if that one does not come within the grace, the
//! branch of whoever has a state is gone on from, and the other's commands become orphans. Nor is a replica without a state
//! a member of a view: a log that continues a state which is gone is a copy of nothing. Likewise one that finds its state lost ceases to lead, for only a
//! leader's snapshot can give it another.
//!
//! ## Rot
//!
//! A byte that rots on one disk is no matter of the others, and must not become one: a damaged replica neither serves less
//! than it did, nor passes the damage on, nor ends where others can help.
//!
//! A state that is [damaged](state_machine::StateMachine::damage), whoever met it, is given up for the empty one, durably and
//! at once. The replica ceases to lead, leaves the view and gives nobody a snapshot, and is built up again from its log where
//! that goes back to the beginning, else from a snapshot of the leader's. Its log counts all the while.
//!
//! Of a damaged entry of the log everything is known but what it says: the branch table tells where it stands and of which
//! epoch it is, and whoever holds that position holds that entry. So a replica asks the others for exactly what it lacks,
//! whatever they and it are doing, and two that are damaged in different places mend each other. Until it has them, its log
//! counts as what it was: the newest, if it was that, and nobody goes on without it. But nobody takes damaged entries from it,
//! it is not cut below them, as they could not be kept as orphans, and where its state does not show them it neither leads nor
//! is a member of a view. If nobody has them any more, an operator is told, who alone may decide to
//! [go on without](replica::Replica::force_view).
//!
//! ## Reads
//!
//! Every replica of a view answers from what it has applied, once that is everything before the start of its view
//! ([`view_start`](status::Status::view_start)): all of it is committed, though a replica that was restarted does not know of
//! each entry yet that it is. What was acknowledged since may be missing, for as long as the view goes on, and for no longer
//! than [`suspect`](replica::Settings::suspect) after it went on without the replica: one that hears nobody leaves its view, and
//! one that was paused is not [awake](handle::Handle::is_awake) until it has noticed. A read that must see everything acknowledged before it began asks the
//! leader, which lets every member of its view confirm that it still follows, by a heartbeat sent after the read came
//! ([`handle::Handle::read_barrier`]). Without that, a leader that was paused would answer from the past.
//!
//! # The parts
//!
//! * [`replica`]: the protocol, without clock, disk or network. Deterministic.
//! * [`driver`]: the only place where protocol, disk and network meet, and the order of the three.
//! * [`disk_store`] and [`grpc`]: the disk and the network. [`memory_store`] and [`memory_transport`] in their place, for tests.
//! * [`state_machine`]: what the application implements, and [`whole_state`], which does it for a state that fits into
//!   memory.
//! * [`sim`]: replicas on simulated disks, network and time, where one seed decides everything, and what must hold is checked
//!   after every step.
//!
//! # What is left out
//!
//! * Byzantine replicas: a peer may be slow, dead, cut off or restarted, not malicious. What it says is checked at one gate, so
//!   that it can neither end a replica nor poison what it promises: numbers that no honest history reaches, lists without end,
//!   logs that contradict themselves, and what is said in another's name are ignored, and noted. That a member speaks the truth
//!   within these bounds is taken for granted.
//! * Leases: a linearizable read costs a round to the members.
//! * Suspended machines: a process notices a pause by the clock that does not stop for it, and that one stops with the machine.

pub mod branch;
pub mod disk_store;
pub mod driver;
pub mod embed;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod grpc;
pub mod handle;
pub mod memory_store;
pub mod memory_transport;
pub mod message;
pub mod replica;
pub mod sim;
pub mod state_machine;
pub mod status;
pub mod store;
pub mod timed_store;
pub mod transport;
pub mod types;
pub mod whole_state;
