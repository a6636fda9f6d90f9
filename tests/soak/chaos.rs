//! Replicas die and come back.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use examples::LocalCluster;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};

/// Nobody is away for longer: a cluster may wait for members of its last view until its grace for them is over, and what is
/// found only afterwards counts as a lost history.
const LONGEST_ABSENCE: Duration = Duration::from_secs(4);

#[derive(Default)]
pub(crate) struct Losses {
    killed: u32,
    stopped: u32,
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { killed, stopped } = self;
        write!(f, "{killed} replicas killed and {stopped} stopped")
    }
}

/// Kills, stops and starts replicas. At least one runs at any time.
pub(crate) async fn until(
    cluster: &mut LocalCluster,
    mut random: ChaCha8Rng,
    end: Instant,
) -> Losses {
    let mut losses = Losses::default();
    let mut away = BTreeMap::<u32, Instant>::new();
    while Instant::now() < end {
        sleep(Duration::from_millis(random.random_range(100..1500))).await;
        let overdue = away
            .iter()
            .find(|(_, since)| since.elapsed() > LONGEST_ABSENCE);
        let id = match overdue {
            Some((id, _)) => *id,
            None => random.random_range(cluster.ids()),
        };
        if away.remove(&id).is_some() {
            cluster.start(id).unwrap();
        } else if away.len() < 2 {
            away.insert(id, Instant::now());
            match random.random_range(0..4) {
                0 => {
                    cluster.stop(id).unwrap();
                    losses.stopped += 1;
                }
                _ => {
                    cluster.kill(id).unwrap();
                    losses.killed += 1;
                }
            }
        }
    }
    losses
}

/// Starts whoever is away.
pub(crate) fn heal(cluster: &mut LocalCluster) -> io::Result<()> {
    for id in cluster
        .ids()
        .filter(|id| !cluster.is_running(*id))
        .collect::<Vec<_>>()
    {
        cluster.start(id)?;
    }
    Ok(())
}
