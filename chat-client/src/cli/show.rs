//! How things look as lines of text.

use std::collections::BTreeMap;

use super::text::{harmless, harmless_lines};
use crate::cluster::{ClusterStatus, Mode};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::events::{Replica, Resent};
use crate::types::{Account, Conversation, Message, Sent};

pub(super) fn name(account: &Account) -> String {
    let name = harmless(&account.name);
    if account.deleted {
        format!("{name} (deleted, {})", account.id)
    } else {
        name.into_owned()
    }
}

/// `2026-11-21 02:37:41Z ID alice to bob: text (delivered, read)`.
pub(super) fn message(message: &Message) -> String {
    format!(
        "{} {} {}",
        message.sent,
        message.id,
        conversation_line(message)
    )
}

/// A message without its time and id.
pub(super) fn conversation_line(message: &Message) -> String {
    let state = match (message.delivered, message.read) {
        (_, true) => " (read)",
        (true, false) => " (delivered)",
        (false, false) => "",
    };
    format!(
        "{} to {}: {}{state}",
        name(&message.sender),
        name(&message.recipient),
        harmless_lines(&message.body)
    )
}

pub(super) fn account(account: &Account) -> String {
    let presence = if account.online { "online " } else { "offline" };
    format!("{presence}  {}", name(account))
}

pub(super) fn conversation(conversation: &Conversation) -> String {
    let last = match &conversation.last_message {
        Some(message) => {
            format!(
                "{} {}: {}",
                message.sent,
                name(&message.sender),
                harmless(&message.body)
            )
        }
        None => "no messages".into(),
    };
    format!(
        "{}  {} unread  {last}",
        name(&conversation.peer),
        conversation.unread
    )
}

/// `queued, stored on 3 of 3`.
pub(super) fn sent(sent: &Sent) -> String {
    format!("{}, stored on {}", sent.state, sent.durability)
}

/// `replica 0 lost, now on replica 1; your message was resent`.
pub(super) fn switch(from: &Replica, to: &Replica, resent: Resent) -> String {
    match resent {
        Resent::Nothing => format!("{from} lost, now on {to}"),
        Resent::Message => format!("{from} lost, now on {to}; your message was resent"),
    }
}

/// The answers of all replicas as a table, and below it whatever needs a word.
pub(super) fn status(answers: &[(Endpoint, Result<ClusterStatus, Error>)]) -> Vec<String> {
    let heard: BTreeMap<u32, &ClusterStatus> = answers
        .iter()
        .filter_map(|(_, a)| a.as_ref().ok())
        .map(|s| (s.replica_id, s))
        .collect();
    // Of several leaders in several minds, the one of the highest epoch.
    let leader = heard
        .values()
        .filter_map(|s| s.leader.as_ref())
        .max_by_key(|l| l.epoch);
    let mut lines = Vec::new();
    lines.push(match leader {
        Some(l) => format!(
            "leader: replica {} at {}, epoch {}",
            l.replica_id,
            harmless(&l.client_address),
            l.epoch
        ),
        None => "leader: none".into(),
    });
    if let Some(status) = leader
        .and_then(|l| heard.get(&l.replica_id))
        .or(heard.values().next())
    {
        let (accounts, messages) = (status.accounts, status.messages);
        let cluster = harmless(&status.cluster_id);
        lines.push(format!(
            "cluster: {cluster}, {}{accounts} accounts, {messages} messages",
            match status.mode {
                Mode::Unknown => String::new(),
                mode => format!("{mode} mode, "),
            }
        ));
        if status.forced {
            lines.push("the view was forced: started without replicas that may hold more".into());
        }
    }
    let as_leader_sees = leader.and_then(|l| heard.get(&l.replica_id)).copied();
    lines.extend(table(&rows(answers, &heard, as_leader_sees)));
    for (id, status) in &heard {
        if !status.waiting_for.is_empty() {
            lines.push(format!(
                "replica {id} waits: {}",
                harmless(&status.waiting_for)
            ));
        }
        if status.leader.as_ref().map(|l| (l.replica_id, l.epoch))
            != leader.map(|l| (l.replica_id, l.epoch))
        {
            lines.push(match &status.leader {
                Some(l) => format!(
                    "replica {id} sees replica {} lead, epoch {}",
                    l.replica_id, l.epoch
                ),
                None => format!("replica {id} sees no leader"),
            });
        }
    }
    for (endpoint, answer) in answers {
        if let Err(error) = answer {
            lines.push(format!("{endpoint}: {}", harmless(&reason(error))));
        }
    }
    lines
}

type Row = [String; 10];

fn rows(
    answers: &[(Endpoint, Result<ClusterStatus, Error>)],
    heard: &BTreeMap<u32, &ClusterStatus>,
    as_leader_sees: Option<&ClusterStatus>,
) -> Vec<Row> {
    let head = [
        "REPLICA", "ADDRESS", "ROLE", "IN VIEW", "DURABLE", "COMMIT", "APPLIED", "LAG", "STATE",
        "ORPHANS",
    ];
    let mut rows = vec![head.map(String::from)];
    let mut shown = Vec::new();
    for (endpoint, answer) in answers {
        let Ok(status) = answer else {
            let unknown = || "-".to_owned();
            let mut row: Row = std::array::from_fn(|_| unknown());
            row[1] = endpoint.to_string();
            row[2] = "unreachable".into();
            // Others may know which one it is.
            let others = heard.values().flat_map(|s| &s.replicas);
            let known = others
                .into_iter()
                .find(|r| r.client_address == endpoint.to_string());
            if let Some(replica) = known {
                if heard.contains_key(&replica.replica_id) {
                    continue;
                }
                row[0] = replica.replica_id.to_string();
            }
            rows.push(row);
            continue;
        };
        // Two addresses of one replica.
        if shown.contains(&status.replica_id) {
            continue;
        }
        shown.push(status.replica_id);
        let own = status
            .replicas
            .iter()
            .find(|r| r.replica_id == status.replica_id);
        let Some(own) = own else {
            continue;
        };
        let lag = as_leader_sees
            .and_then(|s| s.replicas.iter().find(|r| r.replica_id == own.replica_id))
            .map_or(own.lag, |r| r.lag);
        rows.push([
            own.replica_id.to_string(),
            endpoint.to_string(),
            own.role.to_string(),
            if own.in_view { "yes" } else { "no" }.into(),
            own.durable_index.to_string(),
            own.commit_index.to_string(),
            own.applied_index.to_string(),
            lag.to_string(),
            harmless(&own.state_hash).into_owned(),
            own.orphans.to_string(),
        ]);
    }
    rows[1..].sort();
    rows
}

/// Columns as wide as their widest cell.
fn table(rows: &[Row]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter()
            .map(|r| r[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..10).map(width).collect();
    let line = |row: &Row| {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, w)| format!("{cell:<w$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Why one replica did not answer, in few words.
fn reason(error: &Error) -> String {
    match error {
        Error::NothingListens(gave_up)
        | Error::Untrusted(gave_up)
        | Error::Unavailable(gave_up)
        | Error::Timeout(gave_up) => gave_up
            .attempts
            .iter()
            .map(|(_, outcome)| outcome.as_str())
            .collect(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
