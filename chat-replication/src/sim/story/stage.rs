//! The replicas of a story.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;

use crate::driver::{Answer, Limits, Order};
use crate::handle::{Committed, ProposeError};
use crate::message::Message;
use crate::replica::{Replica, Seed, Settings};
use crate::sim::describe::Brief;
use crate::sim::disk::Disk;
use crate::sim::ledger::{Ledger, command};
use crate::sim::network::Link;
use crate::sim::options;
use crate::sim::process::{Process, Setup};
use crate::sim::world::{brisk, seed_of};
use crate::types::{ClusterId, Mode, PeerId, ReplicaId};

type Outcome = Result<Committed<u64>, ProposeError>;

/// Messages that arrive without a pause before it is taken for a quarrel without end.
const ENDLESS: usize = 100_000;

pub(super) struct Theatre {
    told: String,
    ticks: u64,
    random: ChaCha8Rng,
    setup: Setup,
    seeds: Vec<Seed>,
    actors: Vec<Actor>,
    on_the_way: VecDeque<(PeerId, ReplicaId, Message)>,
    held: bool,
    shows_messages: bool,
    cut: BTreeSet<Link>,
    /// Names of the commands; the id is the place.
    commands: Vec<String>,
    waiting: BTreeMap<u64, oneshot::Receiver<Outcome>>,
}

struct Actor {
    disk: Disk,
    ledger: Ledger,
    process: Option<Process>,
}

impl Theatre {
    pub(super) fn new() -> Theatre {
        Theatre {
            told: String::new(),
            ticks: 0,
            random: ChaCha8Rng::seed_from_u64(0),
            setup: Setup {
                cluster: ClusterId::default(),
                settings: brisk(),
                limits: Limits::default(),
                mutation: None,
            },
            seeds: Vec::new(),
            actors: Vec::new(),
            on_the_way: VecDeque::new(),
            held: false,
            shows_messages: false,
            cut: BTreeSet::new(),
            commands: Vec::new(),
            waiting: BTreeMap::new(),
        }
    }

    pub(super) fn told(&self) -> &str {
        &self.told
    }

    pub(super) fn say(&mut self, what: fmt::Arguments<'_>) {
        writeln!(self.told, "{what}").expect("a string takes everything");
    }

    fn happens(&mut self, what: fmt::Arguments<'_>) {
        let ticks = self.ticks;
        self.say(format_args!("  {ticks:>4}  {what}"));
    }

    /// Carries out one command.
    pub(super) fn play(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["consistent"] => self.setup.settings.mode = Mode::Consistent,
            ["usual", "times"] => {
                self.setup.settings = Settings {
                    mode: self.setup.settings.mode,
                    ..Settings::default()
                };
            }
            ["replicas", count] => self.cast(number(count)?),
            ["start", who @ ..] => {
                for id in self.ids(who)? {
                    self.start(id)?;
                }
            }
            ["tick", count] => {
                for _ in 0..number(count)? {
                    self.tick()?;
                }
            }
            ["hold"] => self.held = true,
            ["deliver"] => {
                self.held = false;
                self.settle()?;
            }
            ["deliver", count] => {
                for _ in 0..number(count)? {
                    self.deliver_one()?;
                }
            }
            ["drop"] => self.on_the_way.clear(),
            ["drop", from, to] => {
                let link = (self.id(from)?, self.id(to)?);
                self.on_the_way
                    .retain(|(from, to, _)| (from.replica, *to) != link);
            }
            ["propose", at, name] => self.propose(at, name)?,
            ["force", who] => self.force(who)?,
            ["crash", who @ ..] => {
                for id in self.ids(who)? {
                    self.crash(id)?;
                }
            }
            ["refused"] => self.refuse()?,
            ["jump", who] => {
                let id = self.id(who)?;
                if let Some(process) = &mut self.actor(id).process {
                    process.driver.ticks_jumped();
                }
                self.turn(id)?;
            }
            ["partition", sides @ ..] => self.partition(sides)?,
            ["heal"] => self.cut.clear(),
            ["show", "messages"] => self.shows_messages = true,
            ["hide", "messages"] => self.shows_messages = false,
            ["expect", rest @ ..] => self.expect(rest)?,
            _ => return Err("there is no such command".to_owned()),
        }
        Ok(())
    }

    fn cast(&mut self, count: u64) {
        let cluster = ClusterId::default();
        for id in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            self.seeds.push(seed_of(id));
            let disk = Disk::new(options::Disk::Memory, cluster, ReplicaId(id), u64::from(id));
            self.actors.push(Actor {
                disk,
                ledger: Ledger::default(),
                process: None,
            });
        }
    }

    fn everybody(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (0..u32::try_from(self.actors.len()).expect("a story has few replicas")).map(ReplicaId)
    }

    fn id(&self, word: &str) -> Result<ReplicaId, String> {
        let id = ReplicaId(u32::try_from(number(word)?).map_err(|error| error.to_string())?);
        match (id.0 as usize) < self.actors.len() {
            true => Ok(id),
            false => Err(format!("there is no replica {id}")),
        }
    }

    fn ids(&self, words: &[&str]) -> Result<Vec<ReplicaId>, String> {
        words.iter().map(|word| self.id(word)).collect()
    }

    fn actor(&mut self, id: ReplicaId) -> &mut Actor {
        &mut self.actors[id.0 as usize]
    }

    fn process(&self, id: ReplicaId) -> Option<&Process> {
        self.actors[id.0 as usize].process.as_ref()
    }

    fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.process(id).map(Process::replica)
    }

    fn up(&self) -> Vec<ReplicaId> {
        self.everybody()
            .filter(|id| self.process(*id).is_some())
            .collect()
    }

    fn start(&mut self, id: ReplicaId) -> Result<(), String> {
        if self.process(id).is_some() {
            return Err(format!("replica {id} is up already"));
        }
        let actor = &self.actors[id.0 as usize];
        let process = Process::start(
            id,
            &actor.disk,
            actor.ledger.clone(),
            self.seeds.clone(),
            &self.setup,
        )
        .map_err(|error| error.to_string())?;
        self.actor(id).process = Some(process);
        for peer in self.up() {
            if peer == id || self.cut.contains(&(id, peer)) {
                continue;
            }
            for (at, about) in [(peer, id), (id, peer)] {
                if let Some(process) = &mut self.actor(at).process {
                    process.driver.connected(about);
                }
                self.turn(at)?;
            }
        }
        self.settle()
    }

    fn crash(&mut self, id: ReplicaId) -> Result<(), String> {
        let Some(process) = self.actor(id).process.take() else {
            return Err(format!("replica {id} is down already"));
        };
        self.actor(id).ledger = process.ledger.clone().crashed();
        drop(process);
        self.on_the_way.retain(|(_, to, _)| *to != id);
        self.listen();
        Ok(())
    }

    fn refuse(&mut self) -> Result<(), String> {
        for at in self.up() {
            for peer in self.everybody() {
                if self.process(peer).is_some() || self.cut.contains(&(at, peer)) {
                    continue;
                }
                if let Some(process) = &mut self.actor(at).process {
                    process.driver.refused(peer);
                }
                self.turn(at)?;
            }
        }
        self.settle()
    }

    fn partition(&mut self, words: &[&str]) -> Result<(), String> {
        let sides: Vec<Vec<ReplicaId>> = words
            .split(|word| *word == "|")
            .map(|side| self.ids(side))
            .collect::<Result<_, _>>()?;
        for a in self.everybody() {
            for b in self.everybody() {
                let together = sides
                    .iter()
                    .any(|side| side.contains(&a) && side.contains(&b));
                if !together {
                    self.cut.insert((a, b));
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        self.ticks += 1;
        for id in self.up() {
            let random = self.random.next_u64();
            if let Some(process) = &mut self.actor(id).process {
                process.driver.tick(random);
            }
            self.turn(id)?;
        }
        self.settle()
    }

    /// Lets everything that was sent arrive, and whatever follows from it, unless messages are held.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ENDLESS {
            if self.held || self.on_the_way.is_empty() {
                return Ok(());
            }
            self.deliver_one()?;
        }
        Err("the replicas never stop talking".to_owned())
    }

    fn deliver_one(&mut self) -> Result<(), String> {
        let Some((from, to, message)) = self.on_the_way.pop_front() else {
            return Ok(());
        };
        if let Some(process) = &mut self.actor(to).process {
            process.driver.receive(from, message);
            self.turn(to)?;
        }
        Ok(())
    }

    fn propose(&mut self, at: &str, name: &str) -> Result<(), String> {
        let id = self.id(at)?;
        let known = self.commands.iter().position(|known| known == name);
        let number = known.unwrap_or(self.commands.len()) as u64;
        if known.is_none() {
            self.commands.push(name.to_owned());
        }
        let (sender, receiver) = oneshot::channel();
        let Some(process) = &mut self.actor(id).process else {
            return Err(format!("replica {id} is down"));
        };
        process
            .driver
            .propose(command(number, 8), Answer::new(sender, None));
        self.waiting.insert(number, receiver);
        self.turn(id)?;
        self.settle()
    }

    fn force(&mut self, who: &str) -> Result<(), String> {
        let id = self.id(who)?;
        let Some(process) = &mut self.actor(id).process else {
            return Err(format!("replica {id} is down"));
        };
        let (sender, _) = oneshot::channel();
        process.driver.order(Order::ForceView, sender);
        self.turn(id)?;
        self.settle()
    }

    /// Turns a replica, state machine included, and tells what it did.
    fn turn(&mut self, id: ReplicaId) -> Result<(), String> {
        loop {
            let Some(process) = &mut self.actor(id).process else {
                return Ok(());
            };
            let (turned, outcome) = process.turn();
            let me = process.replica().identity().peer_id();
            let applied = process.apply();
            for note in outcome.map_err(|error| error.to_string())? {
                self.happens(format_args!("replica {id}: {note}"));
            }
            if let Some(broken) = turned.broken.first() {
                return Err(format!("replica {id} {broken}"));
            }
            for (_, to, message) in turned.sent {
                if self.shows_messages {
                    self.happens(format_args!("   {id} → {to} {}", Brief(&message)));
                }
                if !self.cut.contains(&(id, to)) {
                    self.on_the_way.push_back((me, to, message));
                }
            }
            self.listen();
            if applied.is_none() {
                return Ok(());
            }
        }
    }

    /// Tells the answers that clients got.
    fn listen(&mut self) {
        for (id, mut receiver) in std::mem::take(&mut self.waiting) {
            let name = self.commands[id as usize].clone();
            match receiver.try_recv() {
                Ok(Ok(done)) => self.happens(format_args!(
                    "{name} is done at {}, durable on {} of {}",
                    done.position, done.durable_on, done.replicas
                )),
                Ok(Err(ProposeError::NotLeader {
                    leader: Some(leader),
                })) => {
                    self.happens(format_args!(
                        "{name} is refused: replica {} leads",
                        leader.id
                    ));
                }
                Ok(Err(error)) => self.happens(format_args!("{name} is not done: {error}")),
                Err(oneshot::error::TryRecvError::Closed) => {
                    self.happens(format_args!(
                        "{name} is not done: {}",
                        ProposeError::Stopped
                    ));
                }
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.waiting.insert(id, receiver);
                }
            }
        }
    }

    fn expect(&mut self, words: &[&str]) -> Result<(), String> {
        let leaders: Vec<ReplicaId> = self
            .up()
            .into_iter()
            .filter(|id| {
                self.replica(*id)
                    .is_some_and(|replica| replica.leads().is_some())
            })
            .collect();
        match words {
            ["no", "leader"] if leaders.is_empty() => Ok(()),
            ["leader", who] if leaders == [self.id(who)?] => Ok(()),
            ["leader", ..] | ["no", "leader"] => {
                Err(format!("{leaders:?} lead; {}", self.standings()))
            }
            ["state", who, names @ ..] => {
                let id = self.id(who)?;
                let order = match self.process(id) {
                    Some(process) => process.ledger.order(),
                    None => self.actors[id.0 as usize].ledger.order(),
                };
                let found: Vec<&str> = order
                    .iter()
                    .map(|id| self.commands[*id as usize].as_str())
                    .collect();
                match found == names {
                    true => Ok(()),
                    false => Err(format!("there took effect {found:?}")),
                }
            }
            ["same"] => self.expect_same(),
            _ => Err("there is no such expectation".to_owned()),
        }
    }

    fn expect_same(&self) -> Result<(), String> {
        let stands = |id: &ReplicaId| {
            let replica = self.replica(*id)?;
            let status = replica.status();
            Some((
                replica.branches().clone(),
                status.applied,
                status.state_hash,
                status.orphans,
            ))
        };
        let stands: Vec<_> = self.up().iter().filter_map(stands).collect();
        let same = stands.windows(2).all(|pair| pair[0] == pair[1]);
        match same && stands.iter().all(|(_, _, _, orphans)| *orphans == 0) {
            true => Ok(()),
            false => Err(self.standings()),
        }
    }

    fn standings(&self) -> String {
        let mut text = String::new();
        for id in self.up() {
            if let Some(replica) = self.replica(id) {
                let status = replica.status();
                write!(
                    text,
                    "replica {id} is {:?} in {} at {}, commit {}, applied {}, {} orphans, {}; ",
                    status.role,
                    status.epoch,
                    status.last,
                    status.commit,
                    status.applied,
                    status.orphans,
                    status.waiting_for
                )
                .expect("a string takes everything");
            }
        }
        text
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}
