//! What is wrong with a cluster, in words, each with what to do about it.

use std::collections::{BTreeMap, BTreeSet};

use chat_replication::types::ReplicaId;
use serde::Serialize;

use crate::edge::tls::NOTICE;
use crate::ops::admin::proto::{GetStatusResponse, ListReplicasResponse, Replica};
use crate::ops::condition::named;

/// A disk with less than this part of it free, or less than so many bytes, is low.
const LOW_PART: u64 = 20;
const LOW_BYTES: u64 = 1 << 30;
/// Entries that a member of the view may lack in passing.
const MUCH: u64 = 10_000;
/// Clocks that are further apart are wrong: much more than a word takes from one replica to another.
const APART: u64 = 2_000;
const DAY: i64 = 24 * 3600;

/// What a replica has said of the cluster.
pub(super) struct Seen {
    pub(super) status: GetStatusResponse,
    pub(super) listed: ListReplicasResponse,
    /// In seconds since 1970.
    pub(super) now: i64,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) what: String,
    #[serde(rename = "do")]
    pub(super) remedy: String,
}

/// What it is about, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    NoLeader,
    Drifted,
    Degraded,
    Forced,
    Behind,
    Orphans,
    Waiting,
    RemovedDisk,
    Away,
    KeepsLog,
    DiskReserve,
    Disk,
    Certificate,
    Clock,
    Difference,
    Versions,
}

/// Everything that is wrong, the worst first.
pub(super) fn findings(seen: &Seen) -> Vec<Finding> {
    let mut found = Found::default();
    let Seen {
        status,
        listed,
        now,
    } = seen;
    no_leader(status, &mut found);
    drifted(&listed.replicas, &mut found);
    degraded(status, listed, &mut found);
    if status.forced {
        found.add(
            Kind::Forced,
            "the view was forced: what only the missing replicas have is missing",
            "bring the others back, or remove them with `chat-server replica remove N`",
        );
    }
    // It is no member, so that it is not among those who are listed.
    if is_removed(&status.store_uuid, listed) && !listed.returning.contains(&status.replica_id) {
        removed_disk(status.replica_id, &mut found);
    }
    away(&listed.returning, &mut found);
    keeps_log(&listed.kept_for, &mut found);
    for replica in &listed.replicas {
        progress(replica, &mut found);
        place(replica, status, listed, &mut found);
    }
    if !status.low_disks.is_empty() {
        found.add(
            Kind::DiskReserve,
            format!(
                "nothing is written, since the disk of {} has less room than disk_reserve_mib keeps; reads are answered",
                ids(status.low_disks.iter().copied())
            ),
            "make room, or move the data folder to a larger disk; writes go on by themselves then",
        );
    }
    for replica in &listed.replicas {
        disk(replica, &mut found);
        certificate(replica, *now, &mut found);
    }
    clocks(status.replica_id, &listed.replicas, &mut found);
    differences(status, listed, &mut found);
    versions(&listed.replicas, &mut found);
    found.0
}

#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, kind: Kind, what: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding {
            kind,
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}

fn no_leader(status: &GetStatusResponse, found: &mut Found) {
    if status.leader_id.is_some() {
        return;
    }
    let (waits, remedy) = match told(&status.waiting_for) {
        ("", remedy) => (String::new(), remedy),
        (what, remedy) => (format!("; replica {}: {what}", status.replica_id), remedy),
    };
    found.add(
        Kind::NoLeader,
        format!("no replica leads, so that nothing can be written{waits}"),
        remedy,
    );
}

/// What a replica waits for, and what it says to do about it.
fn told(waiting_for: &str) -> (&str, &str) {
    waiting_for
        .split_once("; ")
        .unwrap_or((waiting_for, "wait, and see its log if that takes long"))
}

/// Two replicas that have applied the same entries have the same state.
fn drifted(replicas: &[Replica], found: &mut Found) {
    let known = || {
        let known = replicas.iter().filter(|one| !one.state_hash.is_empty());
        known.filter_map(|one| {
            let at = (one.applied_index?, one.applied_epoch.as_str());
            Some((at, &one.state_hash, one.replica_id))
        })
    };
    let apart = known().find_map(|(at, hash, id)| {
        let other = known().find(|other| other.0 == at && other.1 != hash)?;
        Some((at.0, id, other.2))
    });
    if let Some((index, one, other)) = apart {
        found.add(
            Kind::Drifted,
            format!(
                "replicas {one} and {other} have different states at the same entry, {index}, which must not be"
            ),
            format!(
                "keep copies of both data folders and report this; then remove replica {other}, and add it again with an \
                 empty data folder"
            ),
        );
    }
}

fn degraded(status: &GetStatusResponse, listed: &ListReplicasResponse, found: &mut Found) {
    let all = listed.replicas.len();
    let live = listed.replicas.iter().filter(|one| one.in_view).count();
    if status.leader_id.is_none() || live == all {
        return;
    }
    let missing: Vec<_> = listed.replicas.iter().filter(|one| !one.in_view).collect();
    let names = ids(missing.iter().map(|one| one.replica_id));
    let are = match missing.len() {
        1 => "is",
        _ => "are",
    };
    let spare = match status.mode.as_str() {
        "consistent" => live.saturating_sub(all / 2 + 1),
        _ => live.saturating_sub(1),
    };
    let risk = match spare {
        0 => "the next crash stops the chat".to_owned(),
        1 => "the chat survives one more crash".to_owned(),
        some => format!("the chat survives {some} more crashes"),
    };
    let is_kept_out =
        |one: &&Replica| !one.waiting_for.is_empty() || is_removed(&one.runs_with_store, listed);
    let remedy = match missing.iter().all(|one| one.reachable) {
        true if missing.iter().any(is_kept_out) => "see below what keeps it out",
        true => "it is reached and catching up; wait, and see its log if that takes long",
        false => {
            "start what is not running there, or mend the network; `chat-server replica remove N` if a replica is lost for \
             good"
        }
    };
    let live = number(live);
    found.add(
        Kind::Degraded,
        format!("{live} of {} live, {names} {are} not: {risk}", number(all)),
        remedy,
    );
}

fn progress(replica: &Replica, found: &mut Found) {
    let id = replica.replica_id;
    if let Some(lag) = replica.lag.filter(|lag| *lag > MUCH) {
        found.add(
            Kind::Behind,
            format!("replica {id} lacks {lag} entries"),
            "look at its disk and its network; it catches up on its own",
        );
    }
    if replica.orphans > 0 {
        found.add(
            Kind::Orphans,
            format!(
                "replica {id} has {} commands of a lost history that are not committed again yet",
                replica.orphans
            ),
            "keep it running and reachable until that is done; do not remove it before",
        );
    }
}

/// Whether a replica that runs has its place in the cluster.
fn place(
    replica: &Replica,
    status: &GetStatusResponse,
    listed: &ListReplicasResponse,
    found: &mut Found,
) {
    let id = replica.replica_id;
    if is_removed(&replica.runs_with_store, listed) {
        if id != status.replica_id {
            removed_disk(id, found);
        }
        return;
    }
    // What the asked one waits for is told where there is no leader.
    let is_told = status.leader_id.is_none() && id == status.replica_id;
    if !replica.waiting_for.is_empty() && !is_told {
        let (what, remedy) = told(&replica.waiting_for);
        found.add(Kind::Waiting, format!("replica {id}: {what}"), remedy);
    }
}

fn is_removed(store: &str, listed: &ListReplicasResponse) -> bool {
    !store.is_empty() && listed.removed.iter().any(|old| old.store_uuid == store)
}

fn removed_disk(id: u32, found: &mut Found) {
    found.add(
        Kind::RemovedDisk,
        format!("replica {id} runs with a data folder that was removed from the cluster"),
        "stop it; if it is to be in the cluster, move its data folder away and start it again with an empty one",
    );
}

/// It is no member either, but is to be one again.
fn away(returning: &[u32], found: &mut Found) {
    for id in returning {
        found.add(
            Kind::Away,
            format!("replica {id} was away for too long, so that the others go on without it"),
            format!(
                "start it: it hands over what only it has, and is added again by itself; if it is lost for good, \
                 `chat-server replica remove {id} --destroyed`"
            ),
        );
    }
}

/// A removed replica may have messages of its own, and those here may have to be joined to them.
fn keeps_log(kept_for: &[u32], found: &mut Found) {
    for id in kept_for {
        found.add(
            Kind::KeepsLog,
            format!("the log is kept, and grows, until replica {id} comes back, which was removed while it was away"),
            format!(
                "start it again, so that it hands over what only it has; if its disk is destroyed, `chat-server replica \
                 remove {id} --destroyed`"
            ),
        );
    }
}

fn disk(replica: &Replica, found: &mut Found) {
    let (free, total) = (replica.disk_free_bytes, replica.disk_total_bytes);
    if total > 0 && (free < LOW_BYTES || free < total / LOW_PART) {
        found.add(
            Kind::Disk,
            format!(
                "the disk of replica {} has {} MiB of {} MiB left",
                replica.replica_id,
                free >> 20,
                total >> 20
            ),
            "make room, or move the data folder to a larger disk",
        );
    }
}

fn certificate(replica: &Replica, now: i64, found: &mut Found) {
    let id = replica.replica_id;
    let left = match replica.certificate_ends_at {
        Some(ends) => ends.saturating_sub(now),
        None => return,
    };
    let what = match left {
        i64::MIN..=0 => format!(
            "the certificate of replica {id} ended {} ago: nobody connects to it any more",
            days(-left)
        ),
        1..NOTICE => format!(
            "the certificate of replica {id} ends in {}: nobody connects to it then",
            days(left)
        ),
        _ => return,
    };
    found.add(
        Kind::Certificate,
        what,
        format!(
            "make a new one with `chat-server init DIR --renew {id}`, where the certificate authority is, and put it in its \
             place; it is read without a restart"
        ),
    );
}

/// Clocks that are off. Which those are is said by most of the others.
fn clocks(me: u32, replicas: &[Replica], found: &mut Found) {
    let mut clocks: Vec<(i64, u32)> = replicas
        .iter()
        .filter_map(|one| Some((one.clock_ahead_ms?, one.replica_id)))
        .collect();
    clocks.push((0, me));
    clocks.sort_unstable();
    let middle = clocks[clocks.len() / 2].0;
    let (right, wrong): (Vec<_>, Vec<_>) = clocks
        .iter()
        .partition(|(ahead, _)| ahead.abs_diff(middle) <= APART);
    let how = "chrony or systemd-timesyncd takes the time from the network";
    if right.len() > wrong.len() {
        for (ahead, id) in wrong {
            let off = seconds(ahead.abs_diff(middle));
            let way = match ahead > middle {
                true => "ahead of",
                false => "behind",
            };
            found.add(
                Kind::Clock,
                format!("the clock of replica {id} is {off} {way} those of the others"),
                format!("set the clock of that machine ({how}); while it leads, messages bear wrong times"),
            );
        }
        return;
    }
    // Nobody can tell who is right.
    if let (Some((least, behind)), Some((most, ahead))) = (clocks.first(), clocks.last()) {
        let off = seconds(most.abs_diff(*least));
        found.add(
            Kind::Clock,
            format!("the clock of replica {ahead} is {off} ahead of that of replica {behind}"),
            format!("set the clocks of both machines ({how}); while the wrong one leads, messages bear wrong times"),
        );
    }
}

/// Milliseconds, for people.
fn seconds(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        some @ 0..120 => format!("{some}.{} s", milliseconds % 1000 / 100),
        some @ 120..7200 => format!("{} min", some / 60),
        some @ 7200..172_800 => format!("{} h", some / 3600),
        some => format!("{} days", some / 86_400),
    }
}

/// Where files and cluster differ. What several say is told once.
fn differences(status: &GetStatusResponse, listed: &ListReplicasResponse, found: &mut Found) {
    let mut said_by: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    let of_others = listed
        .replicas
        .iter()
        .flat_map(|one| one.differences.iter().map(|words| (words, one.replica_id)));
    let own = status
        .differences
        .iter()
        .map(|words| (words, status.replica_id));
    for (words, id) in own.chain(of_others) {
        said_by.entry(words).or_default().insert(id);
    }
    for (words, by) in said_by {
        let (what, remedy) = words
            .split_once("; ")
            .unwrap_or((words, "correct the file"));
        found.add(
            Kind::Difference,
            format!("{what} (by {})", ids(by.into_iter())),
            remedy,
        );
    }
}

fn versions(replicas: &[Replica], found: &mut Found) {
    let mut runs: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for replica in replicas.iter().filter(|one| !one.program.is_empty()) {
        runs.entry(&replica.program)
            .or_default()
            .push(replica.replica_id);
    }
    if runs.len() > 1 {
        let versions: Vec<String> = runs
            .into_iter()
            .map(|(version, of)| format!("{version} on {}", ids(of.into_iter())))
            .collect();
        found.add(
            Kind::Versions,
            format!(
                "the replicas run different versions: {}",
                versions.join(", ")
            ),
            "install the newest one on all of them, one after the other",
        );
    }
}

fn ids(ids: impl Iterator<Item = u32>) -> String {
    let ids: Vec<_> = ids.map(ReplicaId).collect();
    named(&ids)
}

fn number(number: usize) -> String {
    match number {
        1 => "one".to_owned(),
        2 => "two".to_owned(),
        3 => "three".to_owned(),
        4 => "four".to_owned(),
        5 => "five".to_owned(),
        many => many.to_string(),
    }
}

fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => format!("{} h", seconds / 3600),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests;
