//! Figures for Prometheus. Each name is part of the program's interface: dashboards and alerts are made of them.

use std::sync::Arc;
use std::time::Duration;

use chat_core::{Outcome, Stats};
use chat_replication::status::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What is counted as it happens, and what is looked up when somebody asks.
pub(crate) struct Metrics {
    registry: Registry,
    looked_up: LookedUp,
    sent: Counter,
    queued: Counter,
    delivered: Counter,
    logins: Family<LoginLabels, Counter>,
    pub(crate) streams: Gauge,
    pub(crate) disk_low: Gauge,
    pub(crate) slow_readers: Counter,
    pub(crate) passwords_hashed: Counter,
    commit: Histogram,
    pub(crate) log_write: Histogram,
    pub(crate) view_changes: Counter,
    pub(crate) states_skipped: Counter,
}

#[derive(Default)]
struct LookedUp {
    ready: Gauge,
    leads: Gauge,
    leader: Gauge,
    epoch: Gauge,
    view_size: Gauge,
    replicas: Gauge,
    durable: Gauge,
    commit: Gauge,
    applied: Gauge,
    compacted: Gauge,
    orphans: Gauge,
    forced: Gauge,
    state_lost: Gauge,
    log_damaged: Gauge,
    reachable: Family<PeerLabels, Gauge>,
    lag: Family<PeerLabels, Gauge>,
    accounts: Gauge,
    sessions: Gauge,
    messages: Gauge,
    certificate_ends: Gauge,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct LoginLabels {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PeerLabels {
    peer: u32,
}

/// A subscriber's stream, counted until it is dropped.
pub(crate) struct OnlineStream(Arc<Metrics>);

impl OnlineStream {
    pub(crate) fn begin(metrics: &Arc<Metrics>) -> OnlineStream {
        metrics.streams.inc();
        OnlineStream(Arc::clone(metrics))
    }
}

impl Drop for OnlineStream {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}

impl Metrics {
    pub(crate) fn new() -> Arc<Metrics> {
        let mut registry = Registry::with_prefix("chat");
        let seconds = || Histogram::new(exponential_buckets(0.0005, 2.0, 15));
        let metrics = Metrics {
            looked_up: LookedUp::default(),
            sent: Counter::default(),
            queued: Counter::default(),
            delivered: Counter::default(),
            logins: Family::default(),
            streams: Gauge::default(),
            disk_low: Gauge::default(),
            slow_readers: Counter::default(),
            passwords_hashed: Counter::default(),
            commit: seconds(),
            log_write: seconds(),
            view_changes: Counter::default(),
            states_skipped: Counter::default(),
            registry: Registry::default(),
        };
        for outcome in ["ok", "failed"] {
            drop(metrics.logins.get_or_create(&LoginLabels { outcome }));
        }
        let build = Info::new([
            ("version", env!("CARGO_PKG_VERSION")),
            (
                "profile",
                if cfg!(debug_assertions) {
                    "debug"
                } else {
                    "release"
                },
            ),
        ]);
        registry.register("build", "What runs", build);
        let of = &metrics.looked_up;
        for (name, help, gauge) in [
            ("ready", "1 while clients are to be sent here", &of.ready),
            ("replication_leads", "1 while this replica leads", &of.leads),
            (
                "replication_leader",
                "Which replica leads, -1 while none is known",
                &of.leader,
            ),
            (
                "replication_epoch",
                "The epoch that it leads or follows in",
                &of.epoch,
            ),
            (
                "replication_view_size",
                "Members of the view, 0 while there is none",
                &of.view_size,
            ),
            (
                "replication_replicas",
                "Replicas of the cluster",
                &of.replicas,
            ),
            (
                "replication_durable_index",
                "Last entry that is durable here",
                &of.durable,
            ),
            (
                "replication_commit_index",
                "Last entry known to be committed",
                &of.commit,
            ),
            (
                "replication_applied_index",
                "Last entry that the state shows",
                &of.applied,
            ),
            (
                "replication_compacted_index",
                "Entries up to this one are gone from the log",
                &of.compacted,
            ),
            (
                "replication_orphans",
                "Commands of a lost history that wait to be committed again",
                &of.orphans,
            ),
            (
                "replication_forced_view",
                "1 while the view is one that was forced",
                &of.forced,
            ),
            (
                "state_lost",
                "1 while the state is lost or damaged, and another one is made from the log or taken from the leader",
                &of.state_lost,
            ),
            (
                "log_damaged",
                "1 while entries of the log are damaged, and the others are asked for them",
                &of.log_damaged,
            ),
            ("accounts", "Accounts that exist", &of.accounts),
            ("sessions", "Sessions that are open", &of.sessions),
            ("messages", "Messages that somebody sees", &of.messages),
            (
                "streams",
                "Subscribers' streams that are open",
                &metrics.streams,
            ),
            (
                "certificate_ends_timestamp_seconds",
                "When this replica's certificate ends, in seconds since 1970; 0 while connections are not encrypted",
                &of.certificate_ends,
            ),
            (
                "disk_low",
                "1 while this replica's disk has less room than is kept, so that nothing is written",
                &metrics.disk_low,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            (
                "messages_sent",
                "Messages that were accepted here, as the leader",
                &metrics.sent,
            ),
            (
                "messages_queued",
                "Those of them whose recipient was not online",
                &metrics.queued,
            ),
            (
                "messages_delivered",
                "Messages whose delivery was confirmed here, as the leader",
                &metrics.delivered,
            ),
            (
                "slow_readers",
                "Streams that were ended since events were missed",
                &metrics.slow_readers,
            ),
            (
                "passwords_hashed",
                "Passwords that were hashed, or compared with a hash, here, as the leader",
                &metrics.passwords_hashed,
            ),
            (
                "replication_view_changes",
                "Views that this replica came to be in",
                &metrics.view_changes,
            ),
            (
                "replication_states_skipped",
                "Snapshots taken over, and returns to another history",
                &metrics.states_skipped,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "logins",
            "Attempts to log in here, as the leader",
            metrics.logins.clone(),
        );
        registry.register(
            "replication_peer_reachable",
            "1 while a peer is heard of",
            of.reachable.clone(),
        );
        registry.register(
            "replication_peer_lag",
            "Entries that a peer does not have yet; known to the leader only",
            of.lag.clone(),
        );
        registry.register(
            "commit_seconds",
            "From a command's proposal to its answer, on the leader",
            metrics.commit.clone(),
        );
        registry.register(
            "log_write_seconds",
            "One write to the log, with its flush",
            metrics.log_write.clone(),
        );
        Arc::new(Metrics {
            registry,
            ..metrics
        })
    }

    /// A command was committed.
    pub(crate) fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    /// A command took effect for the first time.
    pub(crate) fn happened(&self, outcome: &Outcome, recipient_is_online: bool) {
        match outcome {
            Outcome::MessageSent { .. } => {
                self.sent.inc();
                if !recipient_is_online {
                    self.queued.inc();
                }
            }
            Outcome::MarkedDelivered { count, .. } => {
                self.delivered.inc_by(u64::from(*count));
            }
            Outcome::SessionOpened { .. } => {
                self.login("ok");
            }
            _ => {}
        }
    }

    pub(crate) fn login_failed(&self) {
        self.login("failed");
    }

    fn login(&self, outcome: &'static str) {
        self.logins.get_or_create(&LoginLabels { outcome }).inc();
    }

    /// All figures as Prometheus wants them.
    pub(crate) fn page(
        &self,
        status: &Status,
        stats: Option<Stats>,
        is_ready: bool,
        certificate_ends: Option<i64>,
    ) -> String {
        self.look_up(status, stats, is_ready);
        let ends = certificate_ends.unwrap_or_default();
        self.looked_up.certificate_ends.set(ends);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn look_up(&self, status: &Status, stats: Option<Stats>, is_ready: bool) {
        let of = &self.looked_up;
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        of.ready.set(i64::from(is_ready));
        of.leads
            .set(i64::from(status.leader == Some(status.identity.replica)));
        of.leader
            .set(status.leader.map_or(-1, |leader| i64::from(leader.0)));
        of.epoch.set(number(status.epoch.number));
        of.view_size.set(number(status.view.len() as u64));
        of.replicas
            .set(number(status.configuration.members.len() as u64));
        of.durable.set(number(status.durable));
        of.commit.set(number(status.commit));
        of.applied.set(number(status.applied));
        of.compacted.set(number(status.compacted));
        of.orphans.set(number(status.orphans));
        of.forced.set(i64::from(status.forced));
        of.state_lost.set(i64::from(status.state_lost));
        of.log_damaged.set(i64::from(status.damaged.is_some()));
        // A replica that was removed must not be shown for ever.
        of.reachable.clear();
        of.lag.clear();
        for peer in &status.peers {
            let labels = PeerLabels { peer: peer.id.0 };
            of.reachable
                .get_or_create(&labels)
                .set(i64::from(peer.reachable));
            if let Some(verified) = peer.verified {
                let lag = status.last.index.saturating_sub(verified);
                of.lag.get_or_create(&labels).set(number(lag));
            }
        }
        if let Some(stats) = stats {
            of.accounts.set(number(stats.accounts));
            of.sessions.set(number(stats.sessions));
            of.messages.set(number(stats.messages));
        }
    }
}
