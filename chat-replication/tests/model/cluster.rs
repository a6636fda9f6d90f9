//! All replicas, what is on its way between them, and everything that may happen next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chat_replication::message::Message;
use chat_replication::replica::{Seed, Settings};
use chat_replication::types::{Epoch, Index, Position};
use stateright::{Model, Property};

use crate::bounds::{Begin, Bounds};
use crate::canon::{self, Clock};
use crate::node::{Death, Disk, ENDLESS, Input, Outcome, Process, Setup, name};
use crate::rules::{self, Rule};

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    message: Arc<Message>,
    /// What it says but for times.
    digest: u64,
    /// Whose ballot it belongs to, and which.
    ballot: Option<(usize, u64)>,
}

/// One replica.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) disk: Arc<Disk>,
    pub(crate) process: Option<Arc<Process>>,
    lives: u64,
}

/// What may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Left {
    crashes: u8,
    restarts: u8,
    ticks: u8,
    commands: u8,
    cuts: u8,
}

/// A cluster at one moment, and what must not be forgotten of how it came there.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    channels: Vec<VecDeque<Envelope>>,
    /// Cut off from all others.
    pub(crate) cut: Option<usize>,
    left: Left,
    /// Commands whose clients were told that they are safe.
    pub(crate) acknowledged: BTreeSet<u8>,
    /// What somebody has taken for committed, where histories cannot part.
    pub(crate) committed: BTreeMap<Index, Position>,
    /// Which life of its leader led an epoch.
    pub(crate) led: BTreeMap<Epoch, u64>,
    pub(crate) broken: Option<Rule>,
}

impl PartialEq for Cluster {
    fn eq(&self, other: &Cluster) -> bool {
        let digest = |cluster: &Cluster| {
            let mut hasher = std::hash::DefaultHasher::new();
            cluster.hash(&mut hasher);
            hasher.finish()
        };
        digest(self) == digest(other)
    }
}

impl Hash for Cluster {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for node in &self.nodes {
            node.disk.digest.hash(state);
            node.lives.hash(state);
            if let Some(process) = &node.process {
                (process.digest, process.suspects, process.standing()).hash(state);
            }
        }
        for channel in &self.channels {
            channel.len().hash(state);
            for envelope in channel {
                envelope.digest.hash(state);
                let newest = envelope.ballot.is_some_and(|(owner, round)| {
                    let process = self.nodes[owner].process.as_ref();
                    process.is_some_and(|process| process.round == round)
                });
                newest.hash(state);
            }
        }
        (self.cut, self.left).hash(state);
        (&self.acknowledged, &self.committed, &self.led, self.broken).hash(state);
    }
}

/// One thing that may happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// The oldest message from one to another arrives.
    Deliver(usize, usize, Option<Death>),
    /// Time passes at a replica until it has something to do.
    Time(usize, Option<Death>),
    /// A replica learns that another is gone, or takes it for gone because it cannot be reached.
    Gone(usize, usize, Option<Death>),
    /// A client proposes a command.
    Propose(usize, Option<Death>),
    /// A process dies, and what it had sent arrives.
    Crash(usize),
    /// A process dies, and what it had sent is lost.
    CrashMute(usize),
    Restart(usize),
    /// A replica is cut off, and what was on its way is lost.
    Cut(usize),
    Heal,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let death = match self {
            Action::Deliver(_, _, death)
            | Action::Time(_, death)
            | Action::Gone(_, _, death)
            | Action::Propose(_, death) => *death,
            _ => None,
        };
        match self {
            Action::Deliver(from, to, _) => write!(f, "{} -> {}", name(*from), name(*to))?,
            Action::Time(at, _) => write!(f, "time passes at {}", name(*at))?,
            Action::Gone(at, peer, _) => {
                write!(f, "{} learns: {} is gone", name(*at), name(*peer))?
            }
            Action::Propose(at, _) => write!(f, "a command for {}", name(*at))?,
            Action::Crash(at) => write!(f, "{} crashes", name(*at))?,
            Action::CrashMute(at) => write!(f, "{} crashes, its messages lost", name(*at))?,
            Action::Restart(at) => write!(f, "{} starts", name(*at))?,
            Action::Cut(at) => write!(f, "{} is cut off", name(*at))?,
            Action::Heal => write!(f, "the cut heals")?,
        }
        match death {
            None => Ok(()),
            Some(Death::Before(write)) => write!(f, ", and it dies before write {}", write + 1),
            Some(Death::After(write)) => write!(f, ", and it dies after write {}", write + 1),
        }
    }
}

/// A cluster within bounds.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) bounds: Bounds,
    setup: Setup,
}

impl Checked {
    pub(crate) fn new(bounds: Bounds) -> Checked {
        let settings = Settings {
            heartbeat: 1,
            suspect: ENDLESS,
            view_timeout: ENDLESS,
            stagger: 1,
            ballot: 1,
            recovery_grace: ENDLESS,
            rejoin: 0,
            hand_back: if bounds.hands_back { 1 } else { ENDLESS },
            hold: ENDLESS,
            change: ENDLESS,
            hand_over: 4,
            mode: bounds.mode,
            ..Settings::default()
        };
        let seed = |at| Seed {
            id: name(at),
            peer_address: String::new(),
            client_address: String::new(),
        };
        let setup = Setup {
            seeds: (0..bounds.replicas).map(seed).collect(),
            settings,
            mutation: bounds.mutation,
        };
        Checked { bounds, setup }
    }

    /// A cluster that has just been switched on for the first time.
    fn fresh(&self) -> Cluster {
        let replicas = self.bounds.replicas;
        let nodes = (0..replicas)
            .map(|at| {
                let disk = Arc::new(Disk::new(at));
                let process = Process::start(&disk, 1, &self.setup);
                Node {
                    disk,
                    process: Some(Arc::new(process)),
                    lives: 1,
                }
            })
            .collect();
        Cluster {
            nodes,
            channels: vec![VecDeque::new(); replicas * replicas],
            cut: None,
            left: Left {
                crashes: self.bounds.crashes,
                restarts: self.bounds.restarts,
                ticks: u8::MAX,
                commands: self.bounds.commands,
                cuts: self.bounds.cuts,
            },
            acknowledged: BTreeSet::new(),
            committed: BTreeMap::new(),
            led: BTreeMap::new(),
            broken: None,
        }
    }

    fn begin(&self) -> Cluster {
        let mut cluster = self.fresh();
        let all = self.bounds.replicas;
        if self.bounds.begin != Begin::Empty {
            self.lead_on(&mut cluster, |cluster| cluster.members() == all);
        }
        if self.bounds.begin == Begin::SecondLeads {
            self.apply(&mut cluster, Action::Crash(0));
            for at in 1..all {
                self.apply(&mut cluster, Action::Gone(at, 0, None));
            }
            self.lead_on(&mut cluster, |cluster| cluster.members() == all - 1);
            self.apply(&mut cluster, Action::Restart(0));
        }
        let Bounds {
            crashes,
            restarts,
            ticks,
            ..
        } = self.bounds;
        let left = &mut cluster.left;
        (left.crashes, left.restarts, left.ticks) = (crashes, restarts, ticks);
        cluster
    }

    /// Goes on in the one way in which nothing goes wrong.
    fn lead_on(&self, cluster: &mut Cluster, done: impl Fn(&Cluster) -> bool) {
        for _ in 0..50 {
            while let Some((from, to)) = cluster.first_pending() {
                self.apply(cluster, Action::Deliver(from, to, None));
            }
            if done(cluster) {
                return;
            }
            for at in 0..self.bounds.replicas {
                self.apply(cluster, Action::Time(at, None));
            }
        }
        panic!("the cluster does not come to where the bounds begin: {cluster:?}");
    }

    /// Does it, and says whether anything came of it.
    fn apply(&self, cluster: &mut Cluster, action: Action) -> bool {
        let at = match action {
            Action::Deliver(from, to, death) => {
                let Some(envelope) = cluster.channel(from, to).pop_front() else {
                    return false;
                };
                let input = Input::Message(name(from), envelope.message);
                return self.input(cluster, to, input, death);
            }
            Action::Time(at, death) => {
                // The first time is that of the process, not of a timer.
                if cluster.process(at).is_some_and(|process| process.now > 0) {
                    cluster.left.ticks -= 1;
                }
                return self.input(cluster, at, Input::Time, death);
            }
            Action::Gone(at, peer, death) => {
                return self.input(cluster, at, Input::Gone(peer), death);
            }
            Action::Propose(at, death) => {
                cluster.left.commands -= 1;
                let command = cluster.left.commands;
                return self.input(cluster, at, Input::Propose(command), death);
            }
            Action::Crash(at) => {
                cluster.crash(at);
                return true;
            }
            Action::CrashMute(at) => at,
            Action::Restart(at) => {
                let node = &mut cluster.nodes[at];
                node.lives += 1;
                let process = Process::start(&node.disk, node.lives, &self.setup);
                node.process = Some(Arc::new(process));
                cluster.left.restarts = cluster.left.restarts.saturating_sub(1);
                return true;
            }
            Action::Cut(at) => {
                cluster.left.cuts -= 1;
                cluster.cut = Some(at);
                for other in 0..cluster.nodes.len() {
                    cluster.channel(at, other).clear();
                    cluster.channel(other, at).clear();
                }
                return true;
            }
            Action::Heal => {
                cluster.cut = None;
                return true;
            }
        };
        cluster.crash(at);
        for other in 0..cluster.nodes.len() {
            cluster.channel(at, other).clear();
        }
        true
    }

    fn input(&self, cluster: &mut Cluster, at: usize, input: Input, death: Option<Death>) -> bool {
        let Some(before) = cluster.nodes[at].process.clone() else {
            return false;
        };
        let mut process = (*before).clone();
        let mut disk = cluster.nodes[at].disk.clone();
        let promised = disk.promised;
        let taken = catch_unwind(AssertUnwindSafe(|| process.take(input, &mut disk, death)));
        let Ok(taken) = taken else {
            cluster.broken = Some(Rule::Panic);
            return true;
        };
        let Some(outcome) = taken else {
            return false;
        };
        if death.is_some() {
            // A death that nobody could tell from one before or after the whole input is that one.
            let early = matches!(death, Some(Death::Before(0))) && outcome.sent.is_empty();
            let late = matches!(death, Some(Death::After(_))) && !outcome.silenced;
            if !outcome.died || early || late {
                return false;
            }
        }
        let written = !Arc::ptr_eq(&disk, &cluster.nodes[at].disk);
        cluster.nodes[at].disk = disk;
        let Outcome {
            sent,
            acknowledged,
            died,
            ..
        } = outcome;
        rules::said(
            cluster,
            at,
            promised,
            sent.iter().map(|(_, message)| message),
            died,
        );
        for (to, message) in sent {
            cluster.send(at, to, message);
        }
        cluster.nodes[at].process = Some(Arc::new(process));
        if died {
            cluster.crash(at);
        } else {
            cluster.acknowledged.extend(acknowledged);
            rules::took(cluster, self.bounds.one_history(), at, &before);
        }
        if written {
            rules::wrote(cluster, at);
        }
        rules::keeps(cluster);
        true
    }
}

impl Cluster {
    fn channel(&mut self, from: usize, to: usize) -> &mut VecDeque<Envelope> {
        let replicas = self.nodes.len();
        &mut self.channels[from * replicas + to]
    }

    /// Who has something on its way to whom.
    fn pending(&self) -> impl Iterator<Item = (usize, usize)> {
        let replicas = self.nodes.len();
        let full = self.channels.iter().enumerate();
        full.filter(|(_, channel)| !channel.is_empty())
            .map(move |(at, _)| (at / replicas, at % replicas))
    }

    fn first_pending(&self) -> Option<(usize, usize)> {
        self.pending().next()
    }

    fn flight_from(&self, at: usize) -> usize {
        let replicas = self.nodes.len();
        let mine = &self.channels[at * replicas..(at + 1) * replicas];
        mine.iter().map(VecDeque::len).max().unwrap_or(0)
    }

    fn apart(&self, a: usize, b: usize) -> bool {
        self.cut.is_some_and(|cut| (cut == a) != (cut == b))
    }

    pub(crate) fn process(&self, at: usize) -> Option<&Process> {
        self.nodes[at].process.as_deref()
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.nodes[to].process.is_none() || self.apart(from, to) {
            return;
        }
        let ballot = match &message {
            Message::PreBallot { round } => Some((from, *round)),
            Message::PreBallotAnswer { round, .. } => Some((to, *round)),
            _ => None,
        };
        let envelope = Envelope {
            digest: canon::digest(&message, Clock::default()),
            message: Arc::new(message),
            ballot,
        };
        self.channel(from, to).push_back(envelope);
    }

    fn crash(&mut self, at: usize) {
        self.nodes[at].process = None;
        self.left.crashes = self.left.crashes.saturating_sub(1);
        for other in 0..self.nodes.len() {
            self.channel(other, at).clear();
        }
    }

    /// How many members the newest view has whose leader leads.
    fn members(&self) -> usize {
        let leaders = (0..self.nodes.len()).filter_map(|at| {
            let replica = &self.process(at)?.replica;
            replica.view_start(replica.leads()?)
        });
        leaders.map(|start| start.members.len()).max().unwrap_or(0)
    }
}

impl Model for Checked {
    type State = Cluster;
    type Action = Action;

    fn init_states(&self) -> Vec<Cluster> {
        vec![self.begin()]
    }

    fn actions(&self, cluster: &Cluster, actions: &mut Vec<Action>) {
        if cluster.broken.is_some() {
            return;
        }
        let left = cluster.left;
        let mut deaths = vec![None];
        if left.crashes > 0 {
            deaths.extend((0..2).flat_map(|at| [Some(Death::Before(at)), Some(Death::After(at))]));
        }
        for (from, to) in cluster.pending() {
            actions.extend(deaths.iter().map(|death| Action::Deliver(from, to, *death)));
        }
        let quiet = cluster.first_pending().is_none();
        let all = 0..cluster.nodes.len();
        for at in all.clone() {
            let Some(process) = cluster.process(at) else {
                if left.restarts > 0 {
                    actions.push(Action::Restart(at));
                }
                continue;
            };
            let in_time = match self.bounds.flight {
                None => quiet,
                Some(most) => cluster.flight_from(at) <= most,
            };
            if process.now == 0 || (left.ticks > 0 && in_time) {
                actions.extend(deaths.iter().map(|death| Action::Time(at, *death)));
            }
            for peer in all.clone() {
                let down = cluster.nodes[peer].process.is_none() || cluster.apart(at, peer);
                let new = process.suspects & (1 << peer) == 0;
                let heard = self.bounds.late
                    || cluster.channels[peer * cluster.nodes.len() + at].is_empty();
                if peer != at && down && new && heard {
                    actions.extend(deaths.iter().map(|death| Action::Gone(at, peer, *death)));
                }
            }
            if left.commands > 0 && process.replica.leads().is_some() {
                actions.extend(deaths.iter().map(|death| Action::Propose(at, *death)));
            }
            if left.crashes > 0 {
                actions.push(Action::Crash(at));
                if cluster.flight_from(at) > 0 {
                    actions.push(Action::CrashMute(at));
                }
            }
            if left.cuts > 0 && cluster.cut.is_none() && self.bounds.cut_at.contains(&at) {
                actions.push(Action::Cut(at));
            }
        }
        if cluster.cut.is_some() {
            actions.push(Action::Heal);
        }
    }

    fn next_state(&self, cluster: &Cluster, action: Action) -> Option<Cluster> {
        let mut next = cluster.clone();
        self.apply(&mut next, action).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = rules::always();
        properties.extend(rules::sometimes(&self.bounds));
        properties
    }
}

impl Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in self.nodes.iter().enumerate() {
            let last = node.disk.branches.last();
            let promised = node.disk.promised;
            match &node.process {
                None => write!(f, "  [{}: down {last} p{promised}]", name(at))?,
                Some(process) => {
                    let replica = &process.replica;
                    write!(
                        f,
                        "  [{}: {:?} {} c{} p{} in {}]",
                        name(at),
                        replica.role(),
                        replica.branches().last(),
                        replica.commit(),
                        replica.promised(),
                        replica.in_view().unwrap_or_default(),
                    )?;
                }
            }
        }
        for (from, to) in self.pending() {
            let channel = &self.channels[from * self.nodes.len() + to];
            let kinds = channel.iter().map(|envelope| {
                let text = format!("{:?}", envelope.message);
                text.split([' ', '(']).next().unwrap_or_default().to_owned()
            });
            let kinds: Vec<String> = kinds.collect();
            write!(f, " {}>{}:{}", name(from), name(to), kinds.join(","))?;
        }
        Ok(())
    }
}
