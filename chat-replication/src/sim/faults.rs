//! Which trouble comes next.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::board::{CrashPoint, Trap, Trouble};
use super::describe::Kind;
use super::network::Link;
use super::node::Time;
use super::options::Profile;
use crate::types::ReplicaId;

/// Trouble for one or more replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// A process dies between two turns.
    Crash(Who),
    /// A process dies around its next write.
    CrashAtWrite(Who, CrashPoint),
    /// A process dies, or is cut off, right after it sent something.
    Trap(Who, Trap),
    /// Two processes die within a short time.
    TwoCrashes(Time),
    /// All processes die.
    Outage,
    /// Links are cut for a while.
    Cut(&'static str, Vec<Link>),
    /// The sides of a partition remove each other's replicas.
    Estrange(Vec<Link>),
    /// Links become slow for a while.
    Slow(Vec<Link>, Time),
    /// A process is not scheduled for a while. It notices, or its clock was paused as well.
    Pause(Who, Time, Notices),
    /// A disk is slow for a while.
    SlowDisk(Who, u64),
    /// One write takes very long.
    Stall(Who, Time),
    /// A clock is set forward.
    ClockJump(Who, Time),
    /// A disk takes no writes for a while.
    DiskFull(Who, Time),
    /// A disk is lost: its machine comes back with an empty one.
    Wipe(Who),
    /// A disk cannot be read any more, which is noticed at the next start; its machine gets an empty one.
    Rot(Who),
    /// Some entries rot in the log of a replica, or of two, that others have as well. Running ones meet them when they read
    /// them, others at their start. Where logs are on files, it is a byte of any of these that rots.
    Decay(Who, Two),
    /// Rot is found in a replica's state.
    Spoil(Who),
    /// Somebody copies a disk.
    Backup(Who),
    /// A disk is lost, and an old copy takes its place.
    Restore(Who),
    /// A disk from before the cluster was restored comes into a machine: it has what the backup has, and was written to since.
    OldDisk(Who),
    /// Two machines get each other's disk.
    Swap(Who),
    /// An operator adds a replica, or one that was removed once.
    Add,
    /// An operator removes a replica that runs.
    Remove(Who),
    /// An operator removes one that is dead.
    RemoveDead(Who),
    /// An operator removes one that is cut off just then, and may go on alone.
    RemoveParted(Who),
    /// An operator wants another to lead.
    Transfer(Who),
    /// An operator lets a view start with whoever is there.
    Force(Who),
    /// One dies, the others go on and die, and an operator has the first one go on alone, again and again: then its branch
    /// is the newer one.
    ForceAlone(Who),
    /// Somebody says anything to a replica.
    Lies(Who),
}

/// Whom a fault meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Leader,
    Any(ReplicaId),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Two {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Notices {
    Yes,
    No,
}

impl Fault {
    /// What reports call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Fault::Crash(_) => "crash",
            Fault::CrashAtWrite(_, CrashPoint::Before) => "crash before a write",
            Fault::CrashAtWrite(_, CrashPoint::Amid) => "crash amid a write",
            Fault::CrashAtWrite(_, CrashPoint::After) => "crash after a write",
            Fault::CrashAtWrite(_, CrashPoint::Fsync) => "failed flush",
            Fault::CrashAtWrite(_, CrashPoint::Cut) => "crash amid a cut of the log",
            Fault::CrashAtWrite(_, CrashPoint::Read) => "failed read",
            Fault::Trap(_, trap) => match trap.trouble {
                Trouble::Crash => "crash after a send",
                Trouble::Isolation => "cut after a send",
            },
            Fault::TwoCrashes(_) => "two crashes",
            Fault::Outage => "outage",
            Fault::Cut(name, _) => name,
            Fault::Estrange(_) => "sides removed each other",
            Fault::Slow(..) => "slow links",
            Fault::Pause(_, _, Notices::Yes) => "pause",
            Fault::Pause(_, _, Notices::No) => "unnoticed pause",
            Fault::SlowDisk(..) => "slow disk",
            Fault::Stall(..) => "stalled write",
            Fault::ClockJump(..) => "clock jump",
            Fault::DiskFull(..) => "full disk",
            Fault::Wipe(_) => "lost disk",
            Fault::Rot(_) => "rotten disk",
            Fault::Decay(_, Two::No) => "damaged entries",
            Fault::Decay(_, Two::Yes) => "damaged entries of two",
            Fault::Spoil(_) => "damaged state",
            Fault::Backup(_) => "copied disk",
            Fault::Restore(_) => "restored disk",
            Fault::OldDisk(_) => "disk from before a restore",
            Fault::Swap(_) => "swapped disks",
            Fault::Add => "replica added",
            Fault::Remove(_) => "replica removed",
            Fault::RemoveDead(_) => "dead replica removed",
            Fault::RemoveParted(_) => "parted replica removed",
            Fault::Transfer(_) => "leadership transferred",
            Fault::Force(_) => "forced view",
            Fault::ForceAlone(_) => "last one forced",
            Fault::Lies(_) => "lies",
        }
    }
}

/// Draws trouble that the profile allows.
pub(super) fn draw(
    profile: Profile,
    replicas: u32,
    suspect: Time,
    random: &mut ChaCha8Rng,
) -> Option<Fault> {
    let roll = random.random_range(0..100);
    let fault = match profile {
        Profile::Calm if roll < 50 => return None,
        Profile::Calm => Fault::Transfer(who(replicas, random)),
        Profile::Crashes => crash(roll, replicas, random),
        Profile::Hostile if roll < 60 => Fault::Lies(who(replicas, random)),
        Profile::Hostile if roll < 85 => operate(random.random_range(0..50), replicas, random),
        Profile::Hostile => crash(random.random_range(0..100), replicas, random),
        Profile::Members if roll < 55 => operate(random.random_range(0..96), replicas, random),
        Profile::Members => crash(random.random_range(0..100), replicas, random),
        Profile::Outages if roll < 45 => Fault::Outage,
        Profile::Outages => crash(random.random_range(0..100), replicas, random),
        Profile::Partitions if roll < 10 => {
            let who = who(replicas, random);
            match random.random_bool(0.3) {
                true => Fault::Force(who),
                false => Fault::Transfer(who),
            }
        }
        Profile::Partitions => cut(random.random_range(0..100), replicas, random),
        Profile::Everything => match roll {
            0..30 => crash(random.random_range(0..100), replicas, random),
            30..53 => cut(random.random_range(0..100), replicas, random),
            53..73 => operate(random.random_range(0..120), replicas, random),
            73..76 => Fault::Outage,
            76..79 => Fault::ClockJump(
                who(replicas, random),
                random.random_range(suspect / 8..suspect * 4),
            ),
            79..85 => {
                let notices = match random.random_bool(0.6) {
                    true => Notices::Yes,
                    false => Notices::No,
                };
                Fault::Pause(
                    who(replicas, random),
                    random.random_range(suspect / 4..suspect * 4),
                    notices,
                )
            }
            85..90 => Fault::SlowDisk(who(replicas, random), random.random_range(5..60)),
            90..94 => Fault::Stall(
                who(replicas, random),
                random.random_range(suspect / 2..suspect * 3),
            ),
            _ => {
                let links = all_links(replicas)
                    .into_iter()
                    .filter(|_| random.random_bool(0.4))
                    .collect();
                Fault::Slow(links, random.random_range(suspect / 4..suspect * 2))
            }
        },
    };
    Some(fault)
}

fn who(replicas: u32, random: &mut ChaCha8Rng) -> Who {
    match random.random_bool(0.4) {
        true => Who::Leader,
        false => Who::Any(ReplicaId(random.random_range(0..replicas))),
    }
}

fn crash(roll: u32, replicas: u32, random: &mut ChaCha8Rng) -> Fault {
    let who = who(replicas, random);
    match roll {
        0..25 => Fault::Crash(who),
        25..35 => Fault::CrashAtWrite(who, CrashPoint::Before),
        35..50 => Fault::CrashAtWrite(who, CrashPoint::Amid),
        50..60 => Fault::CrashAtWrite(who, CrashPoint::After),
        60..63 => Fault::CrashAtWrite(who, CrashPoint::Fsync),
        63..65 => Fault::CrashAtWrite(who, CrashPoint::Read),
        65..68 => Fault::CrashAtWrite(who, CrashPoint::Cut),
        68..71 => Fault::DiskFull(who, random.random_range(20_000..600_000)),
        71..74 => Fault::Spoil(who),
        74..77 => Fault::Decay(who, Two::No),
        77..80 => Fault::Decay(who, Two::Yes),
        80..88 => Fault::Trap(
            who,
            Trap {
                after: after(random),
                trouble: Trouble::Crash,
            },
        ),
        _ => Fault::TwoCrashes(random.random_range(0..60_000)),
    }
}

fn operate(roll: u32, replicas: u32, random: &mut ChaCha8Rng) -> Fault {
    let who = who(replicas, random);
    match roll {
        0..18 => Fault::Add,
        18..30 => Fault::Remove(who),
        30..38 => Fault::RemoveDead(who),
        38..50 => Fault::Transfer(who),
        50..66 => Fault::Wipe(who),
        66..70 => Fault::Rot(who),
        70..74 => Fault::Spoil(who),
        74..82 => Fault::Backup(who),
        82..87 => Fault::Restore(who),
        87..91 => Fault::OldDisk(who),
        91..96 => Fault::Swap(who),
        96..100 => Fault::Force(who),
        100..110 => Fault::ForceAlone(who),
        _ => Fault::RemoveParted(who),
    }
}

fn after(random: &mut ChaCha8Rng) -> Kind {
    const KINDS: [Kind; 13] = [
        Kind::PreBallotAnswer,
        Kind::Prepare,
        Kind::Promise,
        Kind::Start,
        Kind::Append,
        Kind::AppendAck,
        Kind::Fetch,
        Kind::Fetched,
        Kind::HandOver,
        Kind::Orphans,
        Kind::Heartbeat,
        Kind::Mismatch,
        Kind::Snapshot,
    ];
    KINDS[random.random_range(0..KINDS.len())]
}

fn all_links(replicas: u32) -> Vec<Link> {
    (0..replicas)
        .flat_map(|a| (0..replicas).map(move |b| (ReplicaId(a), ReplicaId(b))))
        .filter(|(a, b)| a != b)
        .collect()
}

/// All links of one replica.
pub(super) fn links_of(id: ReplicaId, replicas: u32) -> Vec<Link> {
    all_links(replicas)
        .into_iter()
        .filter(|(a, b)| *a == id || *b == id)
        .collect()
}

fn cut(roll: u32, replicas: u32, random: &mut ChaCha8Rng) -> Fault {
    let links = all_links(replicas);
    let mut random_pair = || {
        let a = random.random_range(0..replicas);
        let b = (a + random.random_range(1..replicas.max(2))) % replicas;
        (ReplicaId(a), ReplicaId(b))
    };
    match roll {
        0..35 => {
            let side: Vec<bool> = (0..replicas).map(|_| random.random_bool(0.5)).collect();
            let across = |(a, b): &Link| side[a.0 as usize] != side[b.0 as usize];
            let across = links.into_iter().filter(across).collect();
            match roll {
                0..12 => Fault::Estrange(across),
                _ => Fault::Cut("partition", across),
            }
        }
        35..50 => Fault::Cut("one-way cut", vec![random_pair()]),
        50..70 => {
            let (a, b) = random_pair();
            Fault::Cut("partial cut", vec![(a, b), (b, a)])
        }
        70..80 => {
            let (a, _) = random_pair();
            Fault::Cut("isolation", links_of(a, replicas))
        }
        _ => Fault::Trap(
            who(replicas, random),
            Trap {
                after: after(random),
                trouble: Trouble::Isolation,
            },
        ),
    }
}
