//! `chat-server status`: what is wrong, and what to do.

use chat_replication::types::ReplicaId;
use serde::Serialize;

use super::Problem;
use super::admin::{list, reach, told};
use super::args::Through;
use super::output::say;
use crate::admin::proto::{
    GetStatusRequest, GetStatusResponse, ListReplicasRequest, ListReplicasResponse, Replica,
};
use crate::disk::named;

/// A disk with less than this part of it free, or less than so many bytes, is low.
const LOW_PART: u64 = 20;
const LOW_BYTES: u64 = 1 << 30;
/// Entries that a member of the view may lack in passing.
const MUCH: u64 = 10_000;

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    what: String,
    #[serde(rename = "do")]
    remedy: String,
}

#[derive(Serialize)]
struct Report<'a> {
    cluster: &'a str,
    replica: u32,
    leader: Option<u32>,
    epoch: u64,
    is_well: bool,
    findings: &'a [Finding],
}

pub(super) async fn run(through: &Through, json: bool) -> Result<(), Problem> {
    let mut operator = reach(through).await?;
    let status = operator.get_status(GetStatusRequest {}).await;
    let status = status.map_err(told)?.into_inner();
    let listed = operator.list_replicas(ListReplicasRequest {}).await;
    let listed = listed.map_err(told)?.into_inner();
    let findings = findings(&status, &listed);
    if json {
        let report = Report {
            cluster: &status.cluster_id,
            replica: status.replica_id,
            leader: status.leader_id,
            epoch: status.epoch,
            is_well: findings.is_empty(),
            findings: &findings,
        };
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        say(text);
    } else {
        say(list(&status, &listed));
        for finding in &findings {
            say(format!(
                "\nWRONG: {}\n   DO: {}",
                finding.what, finding.remedy
            ));
        }
    }
    match findings.len() {
        0 => {
            if !json {
                say("\nall is well");
            }
            Ok(())
        }
        1 => Err("one thing is wrong".to_owned()),
        some => Err(format!("{some} things are wrong")),
    }
}

/// The worst first.
fn findings(status: &GetStatusResponse, listed: &ListReplicasResponse) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |what: String, remedy: String| found.push(Finding { what, remedy });
    let all = listed.replicas.len();
    let live = listed.replicas.iter().filter(|one| one.in_view).count();
    if status.leader_id.is_none() {
        let waits = match status.waiting_for.as_str() {
            "" => String::new(),
            waiting_for => format!("; replica {} is {waiting_for}", status.replica_id),
        };
        add(
            format!("no replica leads, so that nothing can be written{waits}"),
            "start the replicas that are missing; if they are lost for good, \
             `chat-server force-view --id N` lets replica N go on without them"
                .to_owned(),
        );
    }
    if let Some((one, other)) = drifted(&listed.replicas) {
        add(
            format!(
                "replicas {one} and {other} have different states at the same entry, which must not be"
            ),
            format!(
                "keep copies of both data folders and report this; then remove replica {other}, and add it again with an \
                 empty data folder"
            ),
        );
    }
    if status.leader_id.is_some() && live < all {
        let missing: Vec<_> = listed.replicas.iter().filter(|one| !one.in_view).collect();
        let names: Vec<_> = missing
            .iter()
            .map(|one| one.replica_id.to_string())
            .collect();
        let names = names.join(", ");
        let risk = match (live, status.mode.as_str()) {
            (1, _) => "the next crash stops the chat".to_owned(),
            (_, "consistent") if live <= all / 2 + 1 => "the next crash stops the chat".to_owned(),
            _ => format!("the chat survives {} more crashes", live - 1),
        };
        let remedy = match missing.iter().all(|one| one.reachable) {
            true => "it is reached and catching up; wait, and see its log if that takes long".to_owned(),
            false => "start what is not running there, or mend the network; `chat-server replica remove N` if a replica is \
                      lost for good"
                .to_owned(),
        };
        add(
            format!("{live} of {all} replicas are live, replica {names} is not: {risk}"),
            remedy,
        );
    }
    if status.forced {
        add(
            "the view was forced: what only the missing replicas have is missing".to_owned(),
            "bring the others back, or remove them with `chat-server replica remove N`".to_owned(),
        );
    }
    for replica in &listed.replicas {
        let id = replica.replica_id;
        if let Some(lag) = replica.lag.filter(|lag| *lag > MUCH) {
            add(
                format!("replica {id} lacks {lag} entries"),
                "look at its disk and its network; it catches up on its own".to_owned(),
            );
        }
        if replica.orphans > 0 {
            add(
                format!(
                    "replica {id} has {} commands of a lost history that are not committed again yet",
                    replica.orphans
                ),
                "keep it running and reachable until that is done; do not remove it before"
                    .to_owned(),
            );
        }
    }
    if !status.low_disks.is_empty() {
        let low: Vec<_> = status.low_disks.iter().copied().map(ReplicaId).collect();
        add(
            format!(
                "nothing is written, since the disk of {} has less room than disk_reserve_mib keeps; reads are answered",
                named(&low)
            ),
            "make room, or move the data folder to a larger disk; writes go on by themselves then"
                .to_owned(),
        );
    }
    let (free, total) = (status.disk_free_bytes, status.disk_total_bytes);
    if total > 0 && (free < LOW_BYTES || free < total / LOW_PART) {
        add(
            format!(
                "the disk of replica {} has {} MiB of {} MiB left",
                status.replica_id,
                free >> 20,
                total >> 20
            ),
            "make room, or move the data folder to a larger disk".to_owned(),
        );
    }
    for difference in &status.differences {
        let (what, remedy) = difference
            .split_once("; ")
            .unwrap_or((difference, "correct the file"));
        add(what.to_owned(), remedy.to_owned());
    }
    found
}

/// Two replicas that say to have applied the same entries and have different states.
fn drifted(replicas: &[Replica]) -> Option<(u32, u32)> {
    let known = || {
        let known = replicas.iter().filter(|one| !one.state_hash.is_empty());
        known.filter_map(|one| Some((one.applied_index?, &one.state_hash, one.replica_id)))
    };
    known().find_map(|(index, hash, id)| {
        let other = known().find(|other| other.0 == index && other.1 != hash)?;
        Some((id, other.2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(replica_id: u32) -> Replica {
        Replica {
            replica_id,
            in_view: true,
            reachable: true,
            applied_index: Some(10),
            state_hash: "aa".into(),
            ..Replica::default()
        }
    }

    fn three() -> (GetStatusResponse, ListReplicasResponse) {
        let status = GetStatusResponse {
            leader_id: Some(0),
            mode: "available".into(),
            disk_free_bytes: 90 << 30,
            disk_total_bytes: 100 << 30,
            ..GetStatusResponse::default()
        };
        let listed = ListReplicasResponse {
            replicas: (0..3).map(replica).collect(),
            removed: Vec::new(),
        };
        (status, listed)
    }

    fn words(status: &GetStatusResponse, listed: &ListReplicasResponse) -> String {
        let findings = findings(status, listed);
        let lines = findings
            .iter()
            .map(|one| format!("{} -> {}", one.what, one.remedy));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_cluster_that_is_well_has_no_findings() {
        let (status, listed) = three();
        assert_eq!(words(&status, &listed), "");
    }

    #[test]
    fn each_thing_that_is_wrong_is_told_with_what_to_do() {
        let (status, mut listed) = three();
        listed.replicas[2].in_view = false;
        assert!(words(&status, &listed).contains("2 of 3 replicas are live"));
        listed.replicas[1].in_view = false;
        let found = words(&status, &listed);
        assert!(
            found.contains("1 of 3 replicas are live, replica 1, 2 is not"),
            "{found}"
        );
        assert!(found.contains("the next crash stops the chat"), "{found}");

        let (mut status, listed) = three();
        status.leader_id = None;
        status.waiting_for = "waiting for replica 2".into();
        let found = words(&status, &listed);
        assert!(found.contains("waiting for replica 2"), "{found}");
        assert!(found.contains("force-view"), "{found}");

        let (mut status, mut listed) = three();
        listed.replicas[1].state_hash = "bb".into();
        listed.replicas[2].orphans = 7;
        status.disk_free_bytes = 1 << 30;
        status.differences = vec!["the file says this; correct it".into()];
        status.forced = true;
        let found = words(&status, &listed);
        for part in [
            "replicas 0 and 1 have different states",
            "7 commands of a lost history",
            "has 1024 MiB of 102400 MiB left",
            "the file says this -> correct it",
            "the view was forced",
        ] {
            assert!(found.contains(part), "{part} in {found}");
        }
        // At different entries they may differ.
        listed.replicas[1].applied_index = Some(9);
        assert!(!words(&status, &listed).contains("different states"));
    }

    #[test]
    fn in_consistent_mode_two_of_three_stand_no_further_crash() {
        let (mut status, mut listed) = three();
        status.mode = "consistent".into();
        listed.replicas[0].in_view = false;
        assert!(words(&status, &listed).contains("the next crash stops the chat"));
    }
}
