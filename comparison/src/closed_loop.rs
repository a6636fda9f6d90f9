//! So many senders, each with one message under way: the loop that every system is driven by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::arguments::Load;
use crate::latencies::{Latencies, micros};
use crate::machine::{Reading, load_average};
use crate::outcome::{Outcome, complain};

/// How many failures are told in words.
const TOLD: u64 = 3;
/// How long senders may take to notice that the load is over, beyond one attempt.
const PATIENCE: Duration = Duration::from_secs(2);

/// A message, unique within a run and among those of other runs with other first ids.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u64,
    /// Begins with the id, where there is room for it.
    pub(crate) body: String,
}

impl Message {
    /// A message of so many bytes. One that is too short for its id has the end of it.
    pub(crate) fn new(id: u64, size: usize) -> Message {
        let mut body = format!("{id:016x} ");
        if size < body.len() {
            let end = format!("{id:016x}").split_off(16 - size.clamp(1, 16));
            return Message { id, body: end };
        }
        let letters = (b'a'..=b'z').map(char::from).cycle();
        let more = size.saturating_sub(body.len());
        body.extend(letters.skip((id % 26) as usize).take(more));
        Message { id, body }
    }

    /// The id of a body.
    pub(crate) fn id_of(body: &str) -> Option<u64> {
        u64::from_str_radix(body.get(..16)?, 16).ok()
    }
}

/// One who sends, with at most one message under way.
pub(crate) trait Sender: Send + 'static {
    /// Returns once the message is acknowledged.
    fn send(&mut self, message: &Message) -> impl Future<Output = Result<(), String>> + Send;

    /// Called when an attempt has failed or taken too long, before the same message is sent again.
    fn recover(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What a run came to. Rates are per second of the measured time; what an acknowledgement cost is told per thousand.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) label: String,
    pub(crate) round: u32,
    pub(crate) in_flight: usize,
    pub(crate) body_bytes: usize,
    pub(crate) seconds: f64,
    pub(crate) acks: usize,
    pub(crate) acks_s: f64,
    #[serde(flatten)]
    pub(crate) latencies: Latencies,
    pub(crate) errors: u64,
    /// The longest time in which nobody was acknowledged.
    pub(crate) gap_ms: f64,
    /// When it began, after the start of the measured time.
    pub(crate) gap_at_s: f64,
    /// Acknowledged in all, with what came before and after the measured time.
    pub(crate) acks_ever: u64,
    pub(crate) servers_cpu_ms_per_1k: f64,
    pub(crate) client_cpu_ms_per_1k: f64,
    pub(crate) servers_rss_mib: f64,
    /// Shares of the whole machine.
    pub(crate) cpu_busy: f64,
    pub(crate) iowait: f64,
    /// What was neither the servers' nor this program's.
    pub(crate) others_cpu: f64,
    pub(crate) flushes_per_ack: f64,
    pub(crate) disk_writes_per_ack: f64,
    pub(crate) disk_bytes_per_ack: f64,
    /// The load average before.
    pub(crate) load_before: f64,
}

/// What the senders share. Times are in microseconds since `start`.
struct Course {
    start: Instant,
    over: AtomicBool,
    measuring: AtomicBool,
    acks: AtomicU64,
    errors: AtomicU64,
    last_ack: AtomicU64,
    gap: AtomicU64,
    gap_began: AtomicU64,
    next_id: AtomicU64,
}

impl Course {
    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn acknowledged(&self) {
        let now = self.now();
        self.silent_until(now, self.last_ack.swap(now, Ordering::Relaxed));
    }

    fn silent_until(&self, now: u64, since: u64) {
        let gap = now.saturating_sub(since);
        if gap > self.gap.fetch_max(gap, Ordering::Relaxed) {
            self.gap_began.store(since, Ordering::Relaxed);
        }
    }
}

/// Runs the loop: warms up, measures, and kills a process in between if so asked.
pub(crate) async fn drive<S: Sender>(load: &Load, senders: Vec<S>) -> Outcome<Measured> {
    let in_flight = senders.len();
    let load_before = load_average();
    let course = Arc::new(Course {
        start: Instant::now(),
        over: false.into(),
        measuring: false.into(),
        acks: 0.into(),
        errors: 0.into(),
        last_ack: 0.into(),
        gap: 0.into(),
        gap_began: 0.into(),
        next_id: load.first_id.into(),
    });
    let tasks: Vec<_> = senders
        .into_iter()
        .map(|sender| tokio::spawn(go_round(sender, Arc::clone(&course), load.clone())))
        .collect();
    sleep(load.warm_up()).await;
    let before = Reading::take(&load.pids, &load.disk);
    let (begun, begun_at) = (Instant::now(), course.now());
    course.last_ack.store(begun_at, Ordering::Relaxed);
    course.measuring.store(true, Ordering::Relaxed);
    let mut rest = load.duration();
    if let Some(process) = load.kill_pid {
        let until_kill = rest.mul_f64(load.kill_at.clamp(0.0, 1.0));
        sleep(until_kill).await;
        kill(Pid::from_raw(process), Signal::SIGKILL)?;
        rest = rest.saturating_sub(until_kill);
    }
    match load.until_told {
        // Whichever comes first.
        true => _ = timeout(rest, input_ends()).await,
        false => sleep(rest).await,
    }
    course.measuring.store(false, Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    let after = Reading::take(&load.pids, &load.disk);
    // Where nothing came back, the silence lasts until now.
    course.silent_until(course.now(), course.last_ack.load(Ordering::Relaxed));
    course.over.store(true, Ordering::Relaxed);
    let mut taken = Vec::new();
    for task in tasks {
        match timeout(load.attempt() + PATIENCE, task).await {
            Ok(Ok(some)) => taken.extend(some),
            _ => complain("a sender did not stop, and is not counted"),
        }
    }
    let acks = taken.len();
    let per_ack = |amount: f64| amount / acks.max(1) as f64;
    let total = (after.total - before.total).max(1e-9);
    let busy = after.busy - before.busy;
    let servers_cpu = after.servers_cpu - before.servers_cpu;
    let own_cpu = after.own_cpu - before.own_cpu;
    let gap_began = course.gap_began.load(Ordering::Relaxed);
    Ok(Measured {
        label: load.label.clone(),
        round: load.round,
        in_flight,
        body_bytes: load.size,
        seconds,
        acks,
        acks_s: acks as f64 / seconds,
        latencies: Latencies::of(taken),
        errors: course.errors.load(Ordering::Relaxed),
        gap_ms: course.gap.load(Ordering::Relaxed) as f64 / 1e3,
        gap_at_s: gap_began.saturating_sub(begun_at) as f64 / 1e6,
        acks_ever: course.acks.load(Ordering::Relaxed),
        servers_cpu_ms_per_1k: per_ack(servers_cpu * 1e6),
        client_cpu_ms_per_1k: per_ack(own_cpu * 1e6),
        servers_rss_mib: after.servers_rss as f64 / 1024.0,
        cpu_busy: busy / total,
        iowait: (after.iowait - before.iowait) / total,
        others_cpu: (busy - servers_cpu - own_cpu).max(0.0) / total,
        flushes_per_ack: per_ack((after.flushes - before.flushes) as f64),
        disk_writes_per_ack: per_ack((after.writes - before.writes) as f64),
        disk_bytes_per_ack: per_ack((after.written - before.written) as f64),
        load_before,
    })
}

/// Returns once standard input is closed.
pub(crate) async fn input_ends() -> Outcome {
    let mut input = tokio::io::stdin();
    tokio::io::copy(&mut input, &mut tokio::io::sink()).await?;
    Ok(())
}

/// One sender's way through the whole run. Says how long its acknowledgements took while it was measured.
async fn go_round<S: Sender>(mut sender: S, course: Arc<Course>, load: Load) -> Vec<u32> {
    let mut taken = Vec::with_capacity(1 << 14);
    while !course.over.load(Ordering::Relaxed) {
        let id = course.next_id.fetch_add(1, Ordering::Relaxed);
        let message = Message::new(id, load.size);
        let begun = Instant::now();
        // The same message until it is acknowledged.
        while let Err(error) = attempt(&mut sender, &message, load.attempt()).await {
            if course.errors.fetch_add(1, Ordering::Relaxed) < TOLD {
                complain(&format!("{}: {error}", load.label));
            }
            if course.over.load(Ordering::Relaxed) {
                return taken;
            }
            sender.recover().await;
        }
        course.acks.fetch_add(1, Ordering::Relaxed);
        if course.measuring.load(Ordering::Relaxed) {
            course.acknowledged();
            taken.push(micros(begun.elapsed()));
        }
    }
    taken
}

async fn attempt<S: Sender>(
    sender: &mut S,
    message: &Message,
    deadline: Duration,
) -> Result<(), String> {
    match timeout(deadline, sender.send(message)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} ms", deadline.as_millis())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_its_id() {
        let message = Message::new(0xabc, 100);
        assert_eq!(message.body.len(), 100);
        assert_eq!(Message::id_of(&message.body), Some(0xabc));
        assert_eq!(Message::new(0x1234, 3).body, "234");
        assert_eq!(Message::new(1, 17).body.len(), 17);
        assert_ne!(Message::new(1, 100).body, Message::new(2, 100).body);
        assert_eq!(Message::id_of("too short"), None);
    }

    /// Fails each third time, and counts what it has acknowledged.
    struct Moody(u64, Arc<AtomicU64>);

    impl Sender for Moody {
        async fn send(&mut self, _: &Message) -> Result<(), String> {
            self.0 += 1;
            sleep(Duration::from_millis(1)).await;
            match self.0 % 3 {
                0 => Err("not now".to_owned()),
                _ => {
                    self.1.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
            }
        }
    }

    #[tokio::test]
    async fn what_fails_is_sent_again_and_is_no_acknowledgement() {
        let load = Load {
            seconds: 0.2,
            warm_up_seconds: 0.0,
            ..Load::default()
        };
        let acks = Arc::new(AtomicU64::new(0));
        let senders = vec![Moody(0, Arc::clone(&acks)), Moody(1, Arc::clone(&acks))];
        let measured = drive(&load, senders).await.unwrap();
        assert!(measured.acks > 0 && measured.errors > 0, "{measured:?}");
        assert_eq!(measured.acks_ever, acks.load(Ordering::Relaxed));
        assert!(measured.acks_ever >= measured.acks as u64);
        assert!(measured.gap_ms >= 1.0);
    }
}
