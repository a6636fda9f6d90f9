//! A cluster, each replica a process.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chat_client::{Builder, Client, ClusterStatus};
use chat_replication::types::ClusterId;
use chat_server::config::{Layout, template};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

use super::{PATIENCE, RawClient, eventually, free_base_port};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-server");

/// What a test wants to be different.
pub(crate) struct Setup {
    pub(crate) replicas: u32,
    /// Goes into the file's table of limits.
    pub(crate) limits: &'static str,
    pub(crate) recovery_grace: &'static str,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            replicas: 3,
            // Tests need many accounts and no secrecy.
            limits: "hash_memory_kib = 64\nhash_passes = 1",
            recovery_grace: "10s",
        }
    }
}

pub(crate) struct Cluster {
    folder: TempDir,
    base_port: u16,
    replicas: Vec<Option<Child>>,
}

impl Cluster {
    /// Writes the file of a cluster, and starts none of its replicas.
    pub(crate) fn new(setup: &Setup) -> Cluster {
        let folder = TempDir::new().unwrap();
        let base_port = free_base_port();
        let layout = Layout {
            replicas: setup.replicas,
            base_port,
            ..Layout::default()
        };
        let text = template(ClusterId(Uuid::new_v4()), layout)
            .replace("# [limits]", &format!("[limits]\n{}", setup.limits))
            .replace(
                "# recovery_grace = \"10s\"",
                &format!("recovery_grace = \"{}\"", setup.recovery_grace),
            );
        fs::write(folder.path().join("cluster.toml"), text).unwrap();
        Cluster {
            folder,
            base_port,
            replicas: (0..setup.replicas).map(|_| None).collect(),
        }
    }

    /// Another cluster by the same file, with the same addresses and empty folders of its own. Only one of the two may run.
    pub(crate) fn beside(other: &Cluster) -> Cluster {
        let folder = TempDir::new().unwrap();
        fs::copy(other.file(), folder.path().join("cluster.toml")).unwrap();
        Cluster {
            folder,
            base_port: other.base_port,
            replicas: other.replicas.iter().map(|_| None).collect(),
        }
    }

    /// How a replica ended, if it has.
    pub(crate) fn has_ended(&mut self, id: usize) -> Option<ExitStatus> {
        let status = self.replicas[id].as_mut()?.try_wait().unwrap()?;
        self.replicas[id] = None;
        Some(status)
    }

    /// A running cluster that somebody leads.
    pub(crate) async fn start(setup: Setup) -> Cluster {
        let mut cluster = Cluster::new(&setup);
        for id in 0..setup.replicas as usize {
            cluster.launch(id);
        }
        cluster.settled(setup.replicas as usize).await;
        cluster
    }

    /// One replica with these limits.
    pub(crate) async fn alone(limits: &'static str) -> Cluster {
        Cluster::start(Setup {
            replicas: 1,
            limits,
            ..Setup::default()
        })
        .await
    }

    pub(crate) async fn one() -> Cluster {
        Cluster::start(Setup {
            replicas: 1,
            ..Setup::default()
        })
        .await
    }

    pub(crate) async fn three() -> Cluster {
        Cluster::start(Setup::default()).await
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("cluster.toml")
    }

    pub(crate) fn data(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("replica-{id}"))
    }

    pub(crate) fn address(&self, id: usize) -> String {
        format!("127.0.0.1:{}", usize::from(self.base_port) + id)
    }

    pub(crate) fn peer_address(&self, id: usize) -> String {
        format!("127.0.0.1:{}", usize::from(self.base_port) + 100 + id)
    }

    pub(crate) fn metrics_address(&self, id: usize) -> String {
        format!("127.0.0.1:{}", usize::from(self.base_port) + 200 + id)
    }

    /// What the standard health service says of a replica.
    pub(crate) async fn is_healthy(&self, id: usize) -> bool {
        let mut client = HealthClient::new(self.raw(id).channel);
        let request = HealthCheckRequest {
            service: String::new(),
        };
        let answer = client.check(request).await.unwrap().into_inner();
        answer.status() == ServingStatus::Serving
    }

    /// The command that runs a replica.
    pub(crate) fn command(&self, id: usize) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["run", "--exit-with-stdin", "--config"])
            .arg(self.file())
            .args(["--id", &id.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        command
    }

    pub(crate) fn launch(&mut self, id: usize) {
        self.launch_with(id, &[]);
    }

    pub(crate) fn launch_with(&mut self, id: usize, arguments: &[&str]) {
        let command = self.command(id);
        self.launch_by(id, command, arguments);
    }

    /// Runs a replica by a command that was made for it.
    pub(crate) fn launch_by(&mut self, id: usize, mut command: Command, arguments: &[&str]) {
        assert!(self.replicas[id].is_none(), "replica {id} runs already");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(id))
            .unwrap();
        let child = command.args(arguments).stderr(log).spawn().unwrap();
        self.replicas[id] = Some(child);
    }

    /// As a power cut would, for the process.
    pub(crate) fn kill(&mut self, id: usize) {
        let mut child = self.replicas[id].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a signal to a running replica.
    pub(crate) fn signal(&self, id: usize, signal: Signal) {
        let process = Pid::from_raw(self.process(id) as i32);
        nix::sys::signal::kill(process, signal).unwrap();
    }

    /// The process of a running replica.
    pub(crate) fn process(&self, id: usize) -> u32 {
        self.replicas[id].as_ref().unwrap().id()
    }

    /// What the test keeps beside the cluster's own.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the program on this cluster. What it said, and its exit code.
    pub(crate) async fn program(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let file = self.file();
        let place = ["--config", file.to_str().unwrap()];
        self.bare(&[arguments, &place].concat()).await
    }

    /// Runs a command of the program.
    pub(crate) async fn bare(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let mut command = Command::new(PROGRAM);
        command.env_remove("CHAT_CONFIG").args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            String::from_utf8_lossy(&said).into_owned(),
            output.status.code(),
        )
    }

    /// As its operator would.
    pub(crate) fn stop(&mut self, id: usize) -> ExitStatus {
        let mut child = self.replicas[id].take().unwrap();
        drop(child.stdin.take());
        wait(&mut child)
    }

    pub(crate) fn log_of(&self, id: usize) -> String {
        fs::read_to_string(self.log(id)).unwrap_or_default()
    }

    fn log(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("replica-{id}.log"))
    }

    pub(crate) fn builder(&self) -> Builder {
        Client::builder().endpoints((0..self.replicas.len()).map(|id| self.address(id)))
    }

    /// A client of all replicas.
    pub(crate) async fn client(&self) -> Client {
        self.builder().connect().await.unwrap()
    }

    /// A client that is told of one replica only.
    pub(crate) async fn client_of(&self, id: usize) -> Client {
        let builder = Client::builder().endpoints([self.address(id)]);
        builder.connect().await.unwrap()
    }

    /// Calls at one replica, without a second attempt.
    pub(crate) fn raw(&self, id: usize) -> RawClient {
        RawClient::new(&self.address(id))
    }

    /// A client of a new account, logged in.
    pub(crate) async fn user(&self, name: &str) -> Client {
        let client = self.client().await;
        client.register(name, "password").await.unwrap();
        client.login(name, "password").await.unwrap();
        client
    }

    /// The same user, at one replica.
    pub(crate) async fn at(&self, id: usize, user: &Client) -> Client {
        let client = self.client_of(id).await;
        client.set_session_token(user.session_token());
        client.set_read_token(user.read_token());
        client
    }

    /// Waits until so many replicas are in a view and its leader is known to all of them. Says who leads.
    pub(crate) async fn settled(&self, replicas: usize) -> usize {
        let all: Vec<usize> = (0..self.replicas.len()).collect();
        self.settled_among(&all, replicas).await
    }

    /// The same, with no regard to what others say.
    pub(crate) async fn settled_among(&self, ids: &[usize], replicas: usize) -> usize {
        eventually("a leader whom all follow", || async move {
            let mut views = Vec::new();
            for id in ids
                .iter()
                .copied()
                .filter(|id| self.replicas[*id].is_some())
            {
                let status = self.status(id).await?;
                let leader = status.leader.as_ref()?.replica_id;
                let in_view = status
                    .replicas
                    .iter()
                    .filter(|replica| replica.in_view)
                    .count();
                views.push((leader, status.epoch, in_view));
            }
            let first = *views.first()?;
            let is_one_view = views.iter().all(|view| *view == first) && first.2 == replicas;
            is_one_view.then_some(first.0 as usize)
        })
        .await
    }

    /// A replica's own word.
    pub(crate) async fn status(&self, id: usize) -> Option<ClusterStatus> {
        let client = self.client_of(id).await;
        let endpoint = client.endpoints().into_iter().next()?;
        client.cluster_status_of(&endpoint).await.ok()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.replicas.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 0..self.replicas.len() {
                eprintln_log(id, &self.log_of(id));
            }
        }
        for id in 0..self.replicas.len() {
            let log = self.log_of(id);
            let is_sound = !log.contains("panicked") && !log.contains("a defect at");
            assert!(
                is_sound || std::thread::panicking(),
                "replica {id} panicked:\n{log}"
            );
        }
    }
}

#[allow(clippy::print_stderr)]
fn eprintln_log(id: usize, log: &str) {
    eprintln!("--- log of replica {id} ---\n{log}");
}

fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "the process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Cluster {
    /// Runs a replica that is to fail, and gives its last line and exit code.
    pub(crate) fn failing(&self, mut command: Command) -> (String, Option<i32>) {
        let path = self.folder.path().join("failing.log");
        let log = File::create(&path).unwrap();
        let mut child = command.stderr(log).spawn().unwrap();
        let status = wait(&mut child);
        let text = read(&path);
        assert!(
            !text.contains("panicked") && !text.contains("a defect at"),
            "{text}"
        );
        (
            text.lines().last().unwrap_or_default().to_owned(),
            status.code(),
        )
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
