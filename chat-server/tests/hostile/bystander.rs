//! The user who is to notice nothing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat_client::{Client, PageRequest};
use tokio::task::JoinHandle;

use crate::support::{Cluster, Setup};

/// How much more memory a replica may have after an attack than before, in KiB, unless a test says otherwise.
pub(crate) const ALLOWED: u64 = 96 << 10;

/// The memory that a replica's process has, in KiB.
pub(crate) fn memory_of(cluster: &Cluster, id: usize) -> u64 {
    let path = format!("/proc/{}/status", cluster.process(id));
    let status = fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().split(' ').next();
    number.unwrap().parse().unwrap()
}

/// A cluster of one, and a user who writes all the time.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) ada: Client,
    memory: u64,
    stop: Arc<AtomicBool>,
    writing: JoinHandle<Vec<String>>,
}

impl Scene {
    pub(crate) async fn new(limits: &'static str) -> Scene {
        let cluster = Cluster::start(Setup {
            replicas: 1,
            limits,
            ..Setup::default()
        })
        .await;
        let ada = cluster.user("ada").await;
        let stop = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn(write(ada.clone(), Arc::clone(&stop)));
        Scene {
            memory: memory_of(&cluster, 0),
            cluster,
            ada,
            stop,
            writing,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.cluster.address(0)
    }

    /// All that the user wrote was accepted and is there, and the process has little more memory than at the beginning.
    #[allow(clippy::print_stdout)]
    pub(crate) async fn ends_well(self, what: &str, allowed: u64) {
        let memory = memory_of(&self.cluster, 0);
        self.stop.store(true, Ordering::Relaxed);
        let written = self.writing.await.unwrap();
        assert!(!written.is_empty());
        let mut found = Vec::new();
        let mut request = Some(PageRequest::first(1000));
        while let Some(asked) = request {
            let page = self.ada.list_history("ada", asked).await.unwrap();
            request = page.next_request(1000);
            found.extend(
                page.items
                    .into_iter()
                    .map(|note| (note.sequence, note.body)),
            );
        }
        found.sort();
        let found: Vec<_> = found.into_iter().map(|(_, body)| body).collect();
        assert_eq!(found, written);
        let log = self.cluster.log_of(0);
        assert!(log.len() < 64 << 10, "the log has {} bytes", log.len());
        println!(
            "{what}: {} messages of the bystander, {} MiB before, {} MiB after",
            written.len(),
            self.memory >> 10,
            memory >> 10
        );
        assert!(
            memory <= self.memory + allowed,
            "{what}: {} KiB, and {memory} KiB after",
            self.memory
        );
    }
}

/// Writes notes to oneself, each of which has to be accepted.
async fn write(ada: Client, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut written = Vec::new();
    while written.is_empty() || !stop.load(Ordering::Relaxed) {
        let body = format!("well-behaved {}", written.len());
        ada.send_message("ada", &body).await.unwrap();
        written.push(body);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    written
}
