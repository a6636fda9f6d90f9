//! A cluster whose replicas are child processes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use chat_replication::types::ClusterId;
use chat_server::config::{Layout, template};
use uuid::Uuid;

/// Replicas as processes of their own, with a data folder each, on free ports of this machine.
///
/// Dropped, it takes its replicas with it: each stops when its standard input closes.
pub struct LocalCluster {
    program: PathBuf,
    dir: PathBuf,
    replicas: u32,
    base_port: u16,
    running: BTreeMap<u32, Running>,
}

struct Running {
    child: Child,
    /// Closed to stop the child.
    stdin: Option<ChildStdin>,
}

/// Replicas that may be added later.
const SPARE: u32 = 2;

/// What became of a replica that was expected to run.
#[derive(Debug)]
pub struct Lost {
    /// The replica.
    pub replica: u32,
    /// Its exit status, in words.
    pub status: String,
    /// The end of what it wrote.
    pub log: String,
}

impl LocalCluster {
    /// Writes the file of a new cluster into a folder. `program` is run for each replica, with the arguments of
    /// `chat-server`.
    pub fn create(
        program: impl Into<PathBuf>,
        dir: &Path,
        replicas: u32,
    ) -> io::Result<LocalCluster> {
        let base_port = free_ports(replicas + SPARE)?;
        let layout = Layout {
            replicas,
            base_port,
            ..Layout::default()
        };
        fs::create_dir_all(dir)?;
        let text = template(ClusterId(Uuid::new_v4()), layout);
        fs::write(dir.join("cluster.toml"), text)?;
        Ok(LocalCluster {
            program: program.into(),
            dir: dir.to_owned(),
            replicas,
            base_port,
            running: BTreeMap::new(),
        })
    }

    /// Writes one more replica into the cluster file, which is to be added to the cluster. Says its id.
    pub fn add(&mut self) -> io::Result<u32> {
        let id = self.replicas;
        let mut file = OpenOptions::new().append(true).open(self.config())?;
        write!(
            file,
            "\n[[replica]]\nid = {id}\nclient_listen = \"{}\"\npeer_listen = \"{}\"\ndata_dir = \"replica-{id}\"\n",
            self.endpoint(id),
            self.peer_endpoint(id)
        )?;
        self.replicas += 1;
        Ok(id)
    }

    /// The ids of all replicas.
    pub fn ids(&self) -> std::ops::Range<u32> {
        0..self.replicas
    }

    /// The cluster file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("cluster.toml")
    }

    /// Where a replica keeps its files.
    pub fn data_dir(&self, id: u32) -> PathBuf {
        self.dir.join(format!("replica-{id}"))
    }

    /// Where clients reach a replica.
    pub fn endpoint(&self, id: u32) -> String {
        format!("127.0.0.1:{}", u32::from(self.base_port) + id)
    }

    /// Where clients reach the replicas.
    pub fn endpoints(&self) -> Vec<String> {
        self.ids().map(|id| self.endpoint(id)).collect()
    }

    /// Where its peers reach a replica.
    pub fn peer_endpoint(&self, id: u32) -> String {
        format!("127.0.0.1:{}", u32::from(self.base_port) + 100 + id)
    }

    /// What a replica has written, over all its lives.
    pub fn log(&self, id: u32) -> String {
        fs::read_to_string(self.log_file(id)).unwrap_or_default()
    }

    /// Starts one replica.
    pub fn start(&mut self, id: u32) -> io::Result<()> {
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file(id))?;
        let mut child = Command::new(&self.program)
            .arg("run")
            .arg("--config")
            .arg(self.config())
            .args(["--id", &id.to_string(), "--exit-with-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let stdin = child.stdin.take();
        self.running.insert(id, Running { child, stdin });
        Ok(())
    }

    /// Starts all replicas.
    pub fn start_all(&mut self) -> io::Result<()> {
        self.ids().try_for_each(|id| self.start(id))
    }

    /// Kills one replica, as `kill -9` does: it has no chance to write anything.
    pub fn kill(&mut self, id: u32) -> io::Result<()> {
        if let Some(mut running) = self.running.remove(&id) {
            running.child.kill()?;
            running.child.wait()?;
        }
        Ok(())
    }

    /// Kills several replicas, all before the first of them is gone.
    pub fn kill_at_once(&mut self, ids: &[u32]) -> io::Result<()> {
        for id in ids {
            if let Some(running) = self.running.get_mut(id) {
                running.child.kill()?;
            }
        }
        ids.iter().try_for_each(|id| self.kill(*id))
    }

    /// Lets one replica stop cleanly.
    pub fn stop(&mut self, id: u32) -> io::Result<()> {
        if let Some(mut running) = self.running.remove(&id) {
            running.stdin = None;
            running.child.wait()?;
        }
        Ok(())
    }

    /// The process of a running replica.
    pub fn process(&self, id: u32) -> Option<u32> {
        self.running.get(&id).map(|running| running.child.id())
    }

    /// Whether the replica was started and not stopped or killed.
    pub fn is_running(&self, id: u32) -> bool {
        self.running.contains_key(&id)
    }

    /// The first replica that ended without being told to.
    pub fn lost(&mut self) -> Option<Lost> {
        let (id, status) = self.running.iter_mut().find_map(|(id, running)| {
            let status = running.child.try_wait().ok().flatten()?;
            Some((*id, status.to_string()))
        })?;
        let log = self.log(id);
        let lines: Vec<&str> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(20)..].join("\n");
        Some(Lost {
            replica: id,
            status,
            log,
        })
    }

    fn log_file(&self, id: u32) -> PathBuf {
        self.dir.join(format!("replica-{id}.log"))
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            running.stdin = None;
        }
        let patience = Instant::now() + Duration::from_secs(5);
        for running in self.running.values_mut() {
            while Instant::now() < patience && matches!(running.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(5));
            }
            // One that did not stop goes all the same; one that did is not there any more.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// The first of a row of ports that nobody listens on, for clients and, a hundred further on, for peers. Below those that
/// the system gives to outgoing connections, so that none of them is taken while a replica is down.
fn free_ports(replicas: u32) -> io::Result<u16> {
    let replicas = u16::try_from(replicas).unwrap_or(u16::MAX);
    let mut random = [0; 2];
    for _ in 0..200 {
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let base = 12_000 + u16::from_le_bytes(random) % 18_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (0..replicas).all(|n| [0, 100, 200].iter().all(|more| free(base + more + n))) {
            return Ok(base);
        }
    }
    Err(io::Error::other("no free ports were found on this machine"))
}
