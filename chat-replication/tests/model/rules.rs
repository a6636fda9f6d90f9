//! What must hold in every state, and what must come about in some.

use std::collections::BTreeSet;

use chat_replication::message::Message;
use chat_replication::types::{Epoch, Mode, Payload};
use stateright::Property;

use crate::bounds::{Begin, Bounds};
use crate::cluster::{Checked, Cluster};
use crate::node::{Process, name};

/// A rule that was broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Rule {
    OneLeader,
    Promises,
    Durable,
    LogMatching,
    Acknowledged,
    OneHistory,
    Unforced,
    Panic,
}

type Holds = Property<Checked>;

/// One property for each rule.
pub(crate) fn always() -> Vec<Holds> {
    macro_rules! holds {
        ($($name:literal => $rule:ident),* $(,)?) => {
            vec![$(Property::always($name, |_: &Checked, cluster: &Cluster| {
                cluster.broken != Some(Rule::$rule)
            })),*]
        };
    }
    holds! {
        "an epoch has one leader, in one life of it" => OneLeader,
        "promises only grow, as others are told them" => Promises,
        "what is committed is on every disk of its view" => Durable,
        "logs with an entry of one position are equal up to there" => LogMatching,
        "what was acknowledged is in some log or among the orphans" => Acknowledged,
        "one entry is committed at an index" => OneHistory,
        "no view goes on without those that may know more" => Unforced,
        "nobody panics" => Panic,
    }
}

/// What shows that the bounds are not too narrow to mean anything.
pub(crate) fn sometimes(bounds: &Bounds) -> Vec<Holds> {
    let mut some: Vec<Holds> = Vec::new();
    if bounds.commands > 0 {
        some.push(Property::sometimes(
            "a command is acknowledged",
            |_: &Checked, cluster: &Cluster| !cluster.acknowledged.is_empty(),
        ));
    }
    if bounds.begin == Begin::Empty {
        some.push(Property::sometimes(
            "a first view starts",
            |_: &Checked, cluster: &Cluster| !cluster.led.is_empty(),
        ));
    }
    let survives = bounds.mode == Mode::Available || bounds.replicas > 2;
    if bounds.crashes > 0 && survives {
        some.push(Property::sometimes(
            "a view starts after a crash",
            |_: &Checked, cluster: &Cluster| {
                leaders(cluster).any(|(at, epoch)| {
                    let mut others = (0..cluster.nodes.len()).filter(|other| *other != at);
                    let start = cluster
                        .process(at)
                        .and_then(|it| it.replica.view_start(epoch));
                    others.any(|other| {
                        cluster.nodes[other].process.is_none()
                            && start.is_some_and(|start| !start.members.contains(&name(other)))
                    })
                })
            },
        ));
    }
    if bounds.hands_back {
        some.push(Property::sometimes(
            "leadership is handed back",
            |_: &Checked, cluster: &Cluster| {
                leaders(cluster).any(|(at, epoch)| {
                    let log = cluster.nodes[at].disk.branches.epochs();
                    let before = log.iter().rev().nth(1).map(|(epoch, _)| epoch.replica);
                    at == 0 && before == Some(name(1)) && epoch.replica == name(0)
                })
            },
        ));
    }
    if !bounds.one_history() {
        some.push(Property::sometimes(
            "histories part",
            |_: &Checked, cluster: &Cluster| leaders(cluster).count() > 1,
        ));
        if bounds.ticks > 2 {
            some.push(Property::sometimes(
                "an orphan is committed again",
                |_: &Checked, cluster: &Cluster| {
                    leaders(cluster).any(|(at, _)| {
                        let node = &cluster.nodes[at];
                        let commit = cluster.process(at).map_or(0, |it| it.replica.commit());
                        let mut log = node.disk.log.iter();
                        log.any(|entry| {
                            entry.position.index <= commit
                                && matches!(entry.payload, Payload::Reproposed { .. })
                        })
                    })
                },
            ));
        }
    }
    some
}

fn leaders(cluster: &Cluster) -> impl Iterator<Item = (usize, Epoch)> {
    (0..cluster.nodes.len()).filter_map(|at| Some((at, cluster.process(at)?.replica.leads()?)))
}

fn breaks(cluster: &mut Cluster, rule: Rule) {
    cluster.broken.get_or_insert(rule);
}

/// What a replica has promised is on its disk when others are told, or at the latest when it dies.
pub(crate) fn said<'a>(
    cluster: &mut Cluster,
    at: usize,
    before: Epoch,
    messages: impl Iterator<Item = &'a Message>,
    died: bool,
) {
    let promised = cluster.nodes[at].disk.promised;
    let told = messages.filter_map(|message| match message {
        Message::Promise { epoch, .. } | Message::Prepare { epoch, .. } => Some(*epoch),
        _ => None,
    });
    let told = told.max().unwrap_or_default();
    if promised < before || (died && promised < told) {
        breaks(cluster, Rule::Promises);
    }
}

/// A replica has taken an input: who leads, and what is committed by that.
pub(crate) fn took(cluster: &mut Cluster, one_history: bool, at: usize, before: &Process) {
    let Some(process) = cluster.process(at) else {
        return;
    };
    let replica = &process.replica;
    let (life, ..) = process.standing();
    let (from, through) = (before.replica.commit(), replica.commit());
    let leads = replica.leads();
    let committed: Vec<_> = (from + 1..=through)
        .filter_map(|index| replica.branches().position_at(index))
        .collect();
    let start = leads.and_then(|epoch| replica.view_start(epoch)).cloned();
    if let Some(epoch) = leads {
        let known = *cluster.led.entry(epoch).or_insert(life);
        if known != life || epoch.replica != name(at) {
            breaks(cluster, Rule::OneLeader);
        }
    }
    if let (Some(epoch), Some(start)) = (leads, start) {
        let everywhere = committed.iter().all(|position| {
            start.members.iter().all(|member| {
                let disk = &cluster.nodes[member.0 as usize - 1].disk;
                // Where histories part, one that has since promised another may have been cut already.
                disk.branches.holds(*position) || (!one_history && disk.promised > epoch)
            })
        });
        if !everywhere {
            breaks(cluster, Rule::Durable);
        }
    }
    if one_history {
        for position in committed {
            let known = *cluster.committed.entry(position.index).or_insert(position);
            if known != position {
                breaks(cluster, Rule::OneHistory);
            }
        }
    }
}

/// A disk was written to: its log against all others.
pub(crate) fn wrote(cluster: &mut Cluster, at: usize) {
    let mine = &cluster.nodes[at].disk.log;
    let forced = mine
        .last()
        .is_some_and(|entry| matches!(&entry.payload, Payload::ViewStart(start) if start.forced));
    let matching = cluster.nodes.iter().all(|node| {
        let both = mine.iter().zip(&node.disk.log);
        let common = both
            .clone()
            .rposition(|(a, b)| a.position == b.position)
            .map_or(0, |last| last + 1);
        both.take(common).all(|(a, b)| a == b)
    });
    if forced {
        breaks(cluster, Rule::Unforced);
    }
    if !matching {
        breaks(cluster, Rule::LogMatching);
    }
}

/// Nothing that was acknowledged is gone.
pub(crate) fn keeps(cluster: &mut Cluster) {
    if cluster.acknowledged.is_empty() {
        return;
    }
    let held: BTreeSet<u8> = cluster
        .nodes
        .iter()
        .flat_map(|node| node.disk.commands())
        .collect();
    if !cluster.acknowledged.is_subset(&held) {
        breaks(cluster, Rule::Acknowledged);
    }
}
