//! Rules broken on purpose.

/// A rule that a replica breaks, so that the simulator shows that it would notice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mutation {
    /// A follower acknowledges entries before they are on its disk.
    AcknowledgeBeforeSync,
    /// A promise leaves before it is on the disk.
    PromiseBeforeSync,
    /// A candidate asks for promises before its own is on its disk.
    PrepareBeforeSync,
    /// A leader's view start leaves before it is on its own disk.
    StartBeforeSync,
    /// What is on the disk of half of the view counts as committed.
    HalfIsCommitted,
    /// A leader counts what was acknowledged before its view start as committed.
    CommitBeforeStart,
    /// A candidate tells others up to where its own log is committed, though it may take another.
    CandidateTellsCommit,
    /// A follower takes the leader's commit index as it is, whatever it has verified itself.
    CommitUnverified,
    /// An append that came late cuts a matching tail.
    LateAppendCuts,
    /// Appends of a leader whose epoch is below the promise are taken.
    TakesOldEpochs,
    /// A restarted replica believes to be in the newest view of its log.
    RestartStaysInView,
    /// A replica that promised a view without itself still believes to be in its own.
    UnnamedStaysInView,
    /// A replica never waits for members of the last view.
    NeverWaits,
    /// A candidate starts its view as soon as one other has promised.
    OnePromiseIsEnough,
    /// A candidate starts its view on its own log, though another's is newer.
    DonorByPromise,
    /// A leader answers linearizable reads without asking its members.
    ReadsUnconfirmed,
    /// A follower whose log differs from the leader's cuts it back to its commit index.
    TruncatesByCommit,
    /// A replica believes to be in each view that comes in with a log.
    AdoptsReplayedView,
    /// A leader takes orphans below one that it has taken for taken.
    OrphansByMark,
    /// A configured replica has a vote, whatever disk it comes with.
    WipedDiskVotes,
    /// A view starts with whoever is there, where it needs a majority.
    MinorityIsEnough,
    /// A removed disk still has a vote, and is followed.
    RemovedLeads,
    /// What is committed is dropped, whoever may still need it.
    CompactsAtOnce,
    /// A leader appends an orphan once in its reign, though a snapshot has taken the holder beyond that place.
    OrphansOnce,
    /// A follower offers its orphans at once, while its own log may still be cut.
    OrphansTooEarly,
    /// An orphan is appended as if its author had seen whatever the leader's log holds below its place.
    ForgetsLineage,
    /// What is known of where an orphan stood stays as it is, though the log that it was to come back to loses as well.
    LineagesStay,
    /// Commands of a losing branch are dropped.
    DropsOrphans,
    /// Commands that lose to a forced view are dropped, where a view needs a majority.
    DropsForcedCuts,
    /// What a peer says is believed, whatever it is.
    BelievesAnything,
    /// A disk that was removed is listened to like a member.
    RemovedSpeaks,
    /// A replica whose log is damaged votes as if it ended before that.
    ForgetsDamaged,
    /// A replica whose state is damaged keeps it, and its place.
    KeepsDamagedState,
    /// A replica whose software is too old for the log becomes a member nevertheless.
    OldVersionJoins,
    /// A start takes what a killed process wrote for durable, though nobody has flushed it.
    StartDoesNotFlush,
    /// A replica starts on a disk of the cluster as it was before it was restored.
    TakesOldDisks,
    /// Where histories parted the newer one stays, though entries were dropped of the other.
    NewerAlwaysStays,
    /// Either side of a partition drops what replicas lack that it has removed.
    DropsWithoutMajority,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 38] = [
        Mutation::AcknowledgeBeforeSync,
        Mutation::PromiseBeforeSync,
        Mutation::PrepareBeforeSync,
        Mutation::StartBeforeSync,
        Mutation::HalfIsCommitted,
        Mutation::CommitBeforeStart,
        Mutation::CandidateTellsCommit,
        Mutation::CommitUnverified,
        Mutation::LateAppendCuts,
        Mutation::TakesOldEpochs,
        Mutation::RestartStaysInView,
        Mutation::UnnamedStaysInView,
        Mutation::NeverWaits,
        Mutation::OnePromiseIsEnough,
        Mutation::DonorByPromise,
        Mutation::ReadsUnconfirmed,
        Mutation::TruncatesByCommit,
        Mutation::AdoptsReplayedView,
        Mutation::OrphansByMark,
        Mutation::WipedDiskVotes,
        Mutation::MinorityIsEnough,
        Mutation::RemovedLeads,
        Mutation::CompactsAtOnce,
        Mutation::OrphansOnce,
        Mutation::OrphansTooEarly,
        Mutation::ForgetsLineage,
        Mutation::LineagesStay,
        Mutation::DropsOrphans,
        Mutation::DropsForcedCuts,
        Mutation::BelievesAnything,
        Mutation::RemovedSpeaks,
        Mutation::OldVersionJoins,
        Mutation::StartDoesNotFlush,
        Mutation::TakesOldDisks,
        Mutation::NewerAlwaysStays,
        Mutation::DropsWithoutMajority,
        Mutation::ForgetsDamaged,
        Mutation::KeepsDamagedState,
    ];
}
