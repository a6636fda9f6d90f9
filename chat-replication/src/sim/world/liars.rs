//! Somebody says what no replica has meant to say.

use rand::RngExt;
use uuid::Uuid;

use super::World;
use crate::message::Message;
use crate::replica::Replica;
use crate::sim::check::Checked;
use crate::sim::describe::Brief;
use crate::sim::faults::Who;
use crate::sim::hostile::{Knowledge, Liar, lie};
use crate::sim::node::Arrived;
use crate::sim::options::Profile;
use crate::types::{Mode, PeerId, ReplicaId, StoreUuid};

/// Real messages that are remembered, to be said again.
const REMEMBERED: usize = 200;

impl World {
    /// Remembers some of what a replica says.
    pub(super) fn remember(&mut self, from: PeerId, sent: &[(usize, ReplicaId, Message)]) {
        if self.profile != Profile::Hostile {
            return;
        }
        for (_, _, message) in sent {
            if self.said.len() >= REMEMBERED {
                self.said.pop_front();
            }
            self.said.push_back((from, message.clone()));
        }
    }

    /// Tells a replica lies, all in the name of one peer.
    pub(super) fn tell_lies(&mut self, who: Who) -> Result<bool, String> {
        let to = self.meant(who);
        let promised = self.running().map(Replica::promised).max();
        let Some(run) = &self.node(to).run else {
            return Ok(false);
        };
        let replica = run.process.replica();
        let configuration = replica.configuration();
        let votes =
            |peer: &PeerId| configuration.is_none_or(|known| known.votes(peer.replica, peer.store));
        // A removal that may not be committed yields to a newer view, whoever says so.
        let is_known = (replica.branches().epochs().last())
            .is_some_and(|(_, first)| *first <= replica.commit());
        // Nor does one count that the others may have made as well, of this side.
        let decides = replica
            .view_start(replica.branches().last().epoch)
            .is_some_and(|start| {
                let known = &start.configuration;
                known.mode == Mode::Consistent || known.may_drop(&start.members)
            });
        let removed = |peer: &PeerId| {
            is_known && decides && configuration.is_some_and(|known| known.has_removed(peer.store))
        };
        let disk = |id: ReplicaId| PeerId {
            replica: id,
            store: self.disks[&id].store(),
        };
        let peers: Vec<PeerId> = self.ids().filter(|id| *id != to).map(disk).collect();
        let mut liars: Vec<(PeerId, Liar)> = peers
            .iter()
            .filter(|peer| votes(peer))
            .map(|peer| (*peer, Liar::Member))
            .collect();
        let nobody = peers.iter().filter(|peer| removed(peer)).copied();
        liars.extend(nobody.map(|peer| (peer, Liar::Nobody)));
        liars.push((disk(to), Liar::Nobody));
        let stranger = PeerId {
            replica: ReplicaId(1000),
            store: StoreUuid(Uuid::from_u128(1000)),
        };
        liars.push((stranger, Liar::Nobody));
        let last = replica.branches().last();
        let replicas = self.ids().collect();
        let said: Vec<(PeerId, Message)> = self.said.iter().cloned().collect();
        let known = Knowledge {
            said: &said,
            promised: promised.unwrap_or_default(),
            last,
            replicas,
        };
        let (from, liar) = liars[self.random.random_range(0..liars.len())];
        for _ in 0..self.random.random_range(1..30) {
            let (from, message) = lie(from, liar, &known, &mut self.random);
            self.tell_trace(format_args!("   {from} lies to {to}: {}", Brief(&message)));
            // Who promises it has heard whom it names. What is refused may name anybody.
            _ = self.check.said(from.replica, &message);
            self.arrive(to, Arrived::Message(from, Box::new(message)));
        }
        Ok(true)
    }

    fn running(&self) -> impl Iterator<Item = &Replica> {
        let running = self.nodes.iter().filter_map(|node| node.run.as_ref());
        running.map(|run| run.process.replica())
    }

    /// What a removed disk casts is not heard.
    pub(super) fn hear_casts(&mut self, id: ReplicaId) -> Checked {
        let Some(run) = &mut self.node_mut(id).run else {
            return Ok(());
        };
        while let Some((from, _)) = run.process.driver.next_cast() {
            let known = run.process.replica().configuration();
            let member = known.is_some_and(|known| known.member(from.replica).is_some());
            let removed = known.is_some_and(|known| known.has_removed(from.store));
            if removed || !member {
                return Err(format!(
                    "replica {id} hears what {from} casts, which is no member"
                ));
            }
        }
        Ok(())
    }
}
