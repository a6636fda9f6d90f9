//! What clients do.

use rand::RngExt;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::stages::Stage;
use super::{Event, World};
use crate::handle::{Committed, ProposeError};
use crate::sim::check::Checked;
use crate::sim::client::{ClientId, Owed, OwedRead, patience, think};
use crate::sim::node::Arrived;
use crate::types::ReplicaId;

impl World {
    /// A client proposes its command, or begins a new one.
    pub(super) fn attempt(&mut self, id: ClientId, attempt: u64) {
        if self.clients[id].attempt != attempt {
            return;
        }
        if self.clients[id].command.is_none() && !self.begins_commands() {
            return;
        }
        let command = *self.clients[id].command.get_or_insert_with(|| {
            let command = self.next_command;
            self.next_command += 1;
            self.check.sent(command);
            command
        });
        self.clients[id].attempt += 1;
        let attempt = self.clients[id].attempt;
        let target = self.clients[id].target;
        let patience = patience(&mut self.random);
        self.schedule(patience, Event::GiveUp(id, attempt));
        // The same bytes each time: it is the same command.
        let bytes = match command % 7 {
            0 => 400,
            rest => 8 + rest as usize * 5,
        };
        let (sender, answer) = oneshot::channel();
        let Some(run) = &mut self.node_mut(target).run else {
            self.next_try(id, None);
            return;
        };
        run.owed.push(Owed {
            client: id,
            attempt,
            command,
            answer,
        });
        self.tell_trace(format_args!(
            "   client {id} proposes {command} to {target}"
        ));
        let arrived = Arrived::Proposal {
            command,
            bytes,
            owed: sender,
        };
        self.arrive(target, arrived);
    }

    pub(super) fn give_up(&mut self, id: ClientId, attempt: u64) {
        if self.clients[id].attempt == attempt && self.clients[id].command.is_some() {
            self.count("attempts given up", 1);
            self.next_try(id, None);
        }
    }

    /// The same command again, there or at the next replica.
    fn next_try(&mut self, id: ClientId, hint: Option<ReplicaId>) {
        let replicas = self.replicas();
        let client = &mut self.clients[id];
        client.attempt += 1;
        client.turn_to(hint, replicas);
        let attempt = client.attempt;
        let pause = self.random.random_range(1000..40_000);
        self.schedule(pause, Event::Attempt(id, attempt));
    }

    /// Takes the answers that a replica has given.
    pub(super) fn poll_answers(&mut self, id: ReplicaId) -> Checked {
        let Some(run) = &mut self.node_mut(id).run else {
            return Ok(());
        };
        let mut answered = Vec::new();
        let mut owed = std::mem::take(&mut run.owed);
        owed.retain_mut(|owed| match owed.poll() {
            Some(outcome) => {
                let copy = (owed.client, owed.attempt, owed.command);
                answered.push((copy, outcome));
                false
            }
            None => true,
        });
        run.owed = owed;
        self.poll_reads(id)?;
        self.poll_orders(id)?;
        for ((client, attempt, command), outcome) in answered {
            self.outcome(id, client, attempt, command, outcome)?;
        }
        Ok(())
    }

    pub(super) fn answered(
        &mut self,
        id: ReplicaId,
        owed: &Owed,
        outcome: Result<Committed<u64>, ProposeError>,
    ) -> Checked {
        self.outcome(id, owed.client, owed.attempt, owed.command, outcome)
    }

    /// Somebody reads at any replica what was done until now, for certain.
    pub(super) fn read(&mut self) {
        let pause = self.random.random_range(2_000..150_000);
        self.schedule(pause, Event::Read);
        let id = ReplicaId(self.random.random_range(0..self.replicas()));
        // The leader alone can tell.
        let leader = self
            .random
            .random_bool(0.7)
            .then(|| self.leaders().max())
            .flatten();
        let id = leader.map_or(id, |epoch| epoch.replica);
        let glance = self.check.glance();
        let (sender, answer) = oneshot::channel();
        if let Some(run) = &mut self.node_mut(id).run {
            run.reads.push(OwedRead { glance, answer });
            self.arrive(id, Arrived::Read(sender));
        }
    }

    fn poll_reads(&mut self, id: ReplicaId) -> Checked {
        let node = &mut self.nodes[id.0 as usize];
        let Some(run) = &mut node.run else {
            return Ok(());
        };
        let mut reads = std::mem::take(&mut run.reads);
        let mut seen = Vec::new();
        reads.retain_mut(|read| match read.answer.try_recv() {
            Ok(Ok(())) => {
                seen.push(read.glance);
                false
            }
            Ok(Err(_)) | Err(TryRecvError::Closed) => false,
            Err(TryRecvError::Empty) => true,
        });
        run.reads = reads;
        for glance in &seen {
            self.check.has_read(id, *glance, &run.process.ledger)?;
        }
        self.count("reads", seen.len() as u64);
        Ok(())
    }

    fn outcome(
        &mut self,
        id: ReplicaId,
        client: ClientId,
        attempt: u64,
        command: u64,
        outcome: Result<Committed<u64>, ProposeError>,
    ) -> Checked {
        let latest = self.clients[client].attempt == attempt;
        match outcome {
            Ok(committed) => {
                self.tell_trace(format_args!(
                    "   {id} acknowledges {command} at {}",
                    committed.position
                ));
                self.check.acknowledge(command, &committed, &self.disks)?;
                if self.clients[client].command == Some(command) {
                    self.clients[client].command = None;
                    self.clients[client].attempt += 1;
                    let attempt = self.clients[client].attempt;
                    let pause = think(&mut self.random);
                    self.schedule(pause, Event::Attempt(client, attempt));
                }
            }
            Err(_) if !latest => {}
            Err(ProposeError::NotLeader { leader }) => {
                self.next_try(client, leader.map(|leader| leader.id));
            }
            Err(ProposeError::Overloaded) => {
                self.count("overloads", 1);
                self.next_try(client, Some(id));
            }
            Err(ProposeError::Unknown) => {
                self.count("unknown outcomes", 1);
                self.next_try(client, Some(id));
            }
            Err(ProposeError::Stopped) => self.next_try(client, None),
        }
        Ok(())
    }

    /// Whether clients begin new commands at this time.
    fn begins_commands(&self) -> bool {
        matches!(self.stage, Stage::Faults | Stage::Serving { .. })
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.clients.iter().all(|client| client.command.is_none())
    }
}
