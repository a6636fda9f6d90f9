//! Replicas in network namespaces of their own, on one bridge that each can be taken off.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use chat_client::{Client, ClusterStatus, Endpoint, Mode};
use examples::until;
use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::world::PROGRAM;

const REPLICAS: u32 = 3;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network with a replica at each of its ends, and this process in its middle. It goes when it is dropped.
pub(crate) struct Network {
    /// Begins the names of all that is made.
    tag: String,
    /// What all its addresses begin with.
    prefix: String,
    dir: TempDir,
    replicas: Vec<Child>,
}

impl Network {
    /// Three replicas that run. `None`, with a line that says why, where this process may not make networks.
    pub(crate) async fn start(mode: Mode) -> Option<Network> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let mut network = Network {
            tag: format!("c{:x}x{number}", process & 0xf_ffff),
            prefix: format!(
                "10.{}.{}",
                64 + process % 128,
                (process / 128 % 64) * 4 + number % 4
            ),
            dir: TempDir::new().unwrap(),
            replicas: Vec::new(),
        };
        if let Err(problem) = network.build() {
            println!("SKIPPED: this process may not make network namespaces: {problem}");
            return None;
        }
        network.write_config(mode);
        for id in 0..REPLICAS {
            let log = File::create(network.log(id)).unwrap();
            let child = Command::new("ip")
                .args(["netns", "exec", &network.namespace(id), PROGRAM, "run"])
                .arg("--config")
                .arg(network.config())
                .args(["--id", &id.to_string(), "--insecure", "--exit-with-stdin"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            network.replicas.push(child);
        }
        network.in_view(&[0, 1, 2]).await;
        Some(network)
    }

    pub(crate) fn endpoint(&self, id: u32) -> String {
        format!("{}.{}:7400", self.prefix, id + 1)
    }

    /// Takes a replica, and whoever is in its namespace, off the network: what is sent is lost without a word.
    pub(crate) fn cut(&self, id: u32) {
        ip(&["link", "set", &self.port(id), "nomaster"]).unwrap();
    }

    pub(crate) fn heal(&self, id: u32) {
        ip(&["link", "set", &self.port(id), "master", &self.bridge()]).unwrap();
    }

    /// Runs a story on a thread of its own, at a replica's end of the network.
    pub(crate) fn spawn_at<F>(&self, id: u32, story: impl FnOnce() -> F + Send + 'static) -> Thread
    where
        F: Future<Output = ()>,
    {
        let namespace = PathBuf::from("/var/run/netns").join(self.namespace(id));
        std::thread::spawn(move || {
            setns(File::open(namespace).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(story());
        })
    }

    /// Waits until the view consists of exactly these replicas, as its leader sees it.
    pub(crate) async fn in_view(&self, ids: &[u32]) -> ClusterStatus {
        let (client, endpoints) = self.client_of(ids).await;
        until(&format!("a view of the replicas {ids:?}"), async || {
            for endpoint in &endpoints {
                let Ok(status) = client.cluster_status_of(endpoint).await else {
                    continue;
                };
                let leader = status.leader.as_ref().map(|leader| leader.replica_id);
                let members = status.replicas.iter().filter(|one| one.in_view);
                let view: Vec<u32> = members.map(|one| one.replica_id).collect();
                if leader == Some(status.replica_id) && view == ids {
                    return Ok(Some(status));
                }
            }
            Ok(None)
        })
        .await
        .unwrap()
    }

    /// Waits until no replica has orphans, and all have applied the same, which has the same hash.
    pub(crate) async fn same_state(&self) -> (u64, String) {
        let (client, endpoints) = self.client_of(&[0, 1, 2]).await;
        let mut before = None;
        until("the same state everywhere, and no orphans,", async || {
            let mut states = Vec::new();
            for endpoint in &endpoints {
                let Ok(status) = client.cluster_status_of(endpoint).await else {
                    return Ok(None);
                };
                let mut replicas = status.replicas.iter();
                let me = replicas.find(|one| one.replica_id == status.replica_id);
                let me = me.filter(|me| me.applied_index == me.durable_index && me.orphans == 0);
                let Some(me) = me else { return Ok(None) };
                states.push((me.applied_index, me.state_hash.clone()));
            }
            states.dedup();
            let state = (states.len() == 1).then(|| states.remove(0));
            // What one look shows may be a tick old.
            let stands_still = state.is_some() && state == before;
            before.clone_from(&state);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            Ok(state.filter(|_| stands_still))
        })
        .await
        .unwrap()
    }

    /// Nobody ended or panicked.
    pub(crate) fn finish(mut self) {
        for id in 0..REPLICAS {
            let log = fs::read_to_string(self.log(id)).unwrap();
            let ended = self.replicas[id as usize].try_wait().unwrap();
            assert!(
                ended.is_none() && !log.contains("panicked") && !log.contains("a defect at"),
                "replica {id} ended ({ended:?}) or panicked:\n{log}"
            );
        }
    }

    async fn client_of(&self, ids: &[u32]) -> (Client, Vec<Endpoint>) {
        let endpoints = ids.iter().map(|id| self.endpoint(*id).parse().unwrap());
        let endpoints: Vec<Endpoint> = endpoints.collect();
        (Client::connect(&endpoints).await.unwrap(), endpoints)
    }

    fn build(&self) -> Result<(), String> {
        let (bridge, prefix) = (self.bridge(), &self.prefix);
        ip(&["netns", "add", &self.namespace(0)])?;
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{prefix}.254/24"), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for id in 0..REPLICAS {
            let (namespace, port) = (self.namespace(id), self.port(id));
            if id > 0 {
                ip(&["netns", "add", &namespace])?;
            }
            ip(&[
                "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace,
            ])?;
            ip(&["link", "set", &port, "master", &bridge, "up"])?;
            let address = format!("{prefix}.{}/24", id + 1);
            ip(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    fn write_config(&self, mode: Mode) {
        let mut text = format!(
            "[cluster]\nid = \"{}\"\nmode = \"{mode}\"\n\n[limits]\nhash_memory_kib = 64\nhash_passes = 1\n",
            Uuid::new_v4()
        );
        for id in 0..REPLICAS {
            let address = format!("{}.{}", self.prefix, id + 1);
            text += &format!(
                "\n[[replica]]\nid = {id}\nclient_listen = \"{address}:7400\"\npeer_listen = \"{address}:7500\"\n\
                 data_dir = \"replica-{id}\"\n"
            );
        }
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("cluster.toml")
    }

    fn log(&self, id: u32) -> PathBuf {
        self.dir.path().join(format!("replica-{id}.log"))
    }

    fn namespace(&self, id: u32) -> String {
        format!("{}n{id}", self.tag)
    }

    fn port(&self, id: u32) -> String {
        format!("{}v{id}", self.tag)
    }

    fn bridge(&self) -> String {
        format!("{}b", self.tag)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in &mut self.replicas {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 0..REPLICAS {
                let log = fs::read_to_string(self.log(id)).unwrap_or_default();
                println!("--- log of replica {id} ---\n{log}");
            }
        }
        // What was not made cannot be taken away, which is as well.
        for id in 0..REPLICAS {
            let _ = ip(&["link", "del", &self.port(id)]);
            let _ = ip(&["netns", "del", &self.namespace(id)]);
        }
        let _ = ip(&["link", "del", &self.bridge()]);
    }
}

/// A story that is told beside others.
pub(crate) type Thread = std::thread::JoinHandle<()>;

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
