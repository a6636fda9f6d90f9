//! `chat-server status`: what is wrong, and what to do.

mod findings;

use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use self::findings::{Finding, Kind, Seen, findings};
use super::Problem;
use super::admin::{Operator, list, reach, told};
use super::args::Through;
use super::output::say;
use crate::clock;
use crate::ops::admin::proto::{GetStatusRequest, ListReplicasRequest, Replica};

/// A replica that goes over to another history shows, for a moment, a state that is not that of its log.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// For programs. Fields and kinds stay what they are; new ones may come.
#[derive(Serialize)]
struct Report<'a> {
    cluster: &'a str,
    /// The replica that was asked.
    replica: u32,
    leader: Option<u32>,
    epoch: u64,
    mode: &'a str,
    is_well: bool,
    findings: &'a [Finding],
    replicas: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    id: u32,
    in_view: bool,
    reachable: bool,
    applied_index: Option<u64>,
    state_hash: &'a str,
    orphans: u64,
    clock_ahead_ms: Option<i64>,
    disk_free_bytes: u64,
    disk_total_bytes: u64,
    certificate_ends_at: Option<i64>,
    waiting_for: &'a str,
    program: &'a str,
}

impl Line<'_> {
    fn of(replica: &Replica) -> Line<'_> {
        Line {
            id: replica.replica_id,
            in_view: replica.in_view,
            reachable: replica.reachable,
            applied_index: replica.applied_index,
            state_hash: &replica.state_hash,
            orphans: replica.orphans,
            clock_ahead_ms: replica.clock_ahead_ms,
            disk_free_bytes: replica.disk_free_bytes,
            disk_total_bytes: replica.disk_total_bytes,
            certificate_ends_at: replica.certificate_ends_at,
            waiting_for: &replica.waiting_for,
            program: &replica.program,
        }
    }
}

pub(super) async fn run(through: &Through, json: bool) -> Result<(), Problem> {
    let mut operator = reach(through).await?;
    let mut seen = look(&mut operator).await?;
    let mut found = findings(&seen);
    if found.iter().any(|one| one.kind == Kind::Drifted) {
        sleep(LOOK_AGAIN).await;
        seen = look(&mut operator).await?;
        found = findings(&seen);
    }
    match json {
        true => say(report(&seen, &found)?),
        false => {
            say(list(&seen.status, &seen.listed));
            for finding in &found {
                say(format!(
                    "\nWRONG: {}\n   DO: {}",
                    finding.what, finding.remedy
                ));
            }
        }
    }
    match found.len() {
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

async fn look(operator: &mut Operator) -> Result<Seen, Problem> {
    let status = operator.get_status(GetStatusRequest {}).await;
    let listed = operator.list_replicas(ListReplicasRequest {}).await;
    Ok(Seen {
        status: status.map_err(told)?.into_inner(),
        listed: listed.map_err(told)?.into_inner(),
        now: i64::try_from(clock::now().as_millis() / 1000).unwrap_or(i64::MAX),
    })
}

fn report(seen: &Seen, findings: &[Finding]) -> Result<String, Problem> {
    let status = &seen.status;
    let report = Report {
        cluster: &status.cluster_id,
        replica: status.replica_id,
        leader: status.leader_id,
        epoch: status.epoch,
        mode: &status.mode,
        is_well: findings.is_empty(),
        findings,
        replicas: seen.listed.replicas.iter().map(Line::of).collect(),
    };
    serde_json::to_string_pretty(&report).map_err(|error| error.to_string())
}
