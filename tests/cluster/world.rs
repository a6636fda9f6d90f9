//! A cluster for one test, and users in it.

use std::fs;
use std::process::Stdio;

use chat_client::{Client, Mode, PageRequest};
use examples::{LocalCluster, Outcome, in_view};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::runtime::{Builder, Runtime};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_test-chat-server");

/// A cluster in a folder of its own, which goes with it.
pub(crate) struct World {
    pub(crate) cluster: LocalCluster,
    _dir: TempDir,
}

impl World {
    /// Three replicas that run.
    pub(crate) async fn start() -> World {
        World::start_with("").await
    }

    /// Three replicas that run, with more lines in the `[cluster]` section of their file.
    pub(crate) async fn start_with(settings: &str) -> World {
        World::start_in(Mode::Available, settings).await
    }

    /// The same in a mode.
    pub(crate) async fn start_in(mode: Mode, settings: &str) -> World {
        let dir = TempDir::new().unwrap();
        let mut cluster = LocalCluster::create(PROGRAM, dir.path(), 3).unwrap();
        let file = fs::read_to_string(cluster.config()).unwrap();
        let file = file.replacen(
            "# heartbeat_interval",
            &format!("{settings}\n# heartbeat_interval"),
            1,
        );
        let file = file.replacen("mode = \"available\"", &format!("mode = \"{mode}\""), 1);
        // One account sends here what many would.
        let limits = "[limits]\nrequests_per_account = 1000000";
        let file = file.replacen("# [limits]", limits, 1);
        fs::write(cluster.config(), file).unwrap();
        cluster.start_all().unwrap();
        let world = World { cluster, _dir: dir };
        in_view(&world.cluster, &[0, 1, 2]).await.unwrap();
        world
    }

    /// What an operator does on the machine of the replicas. Says what the program said.
    pub(crate) async fn operator(&self, arguments: &[&str]) -> Result<String, String> {
        let config = self.cluster.config();
        let config = config.to_str().unwrap();
        program(&[arguments, &["--config", config]].concat()).await
    }

    /// A client that knows all replicas.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.cluster.endpoints()).await.unwrap()
    }

    /// A client of one replica, for reading what that one has.
    pub(crate) async fn client_of(&self, id: u32) -> Client {
        Client::connect([self.cluster.endpoint(id)]).await.unwrap()
    }

    /// A client with a new account, logged in.
    pub(crate) async fn user(&self, name: &str) -> Client {
        let client = self.client().await;
        client.register(name, PASSWORD).await.unwrap();
        client.login(name, PASSWORD).await.unwrap();
        client
    }

    /// The same user at one replica.
    pub(crate) async fn at(&self, id: u32, user: &Client) -> Client {
        self.client_of(id).await.with_session(user.session_token())
    }

    /// Everything is well at the end: whatever was started and not killed still runs.
    pub(crate) fn finish(mut self) {
        if let Some(lost) = self.cluster.lost() {
            panic!(
                "replica {} ended with {}:\n{}",
                lost.replica, lost.status, lost.log
            );
        }
        for id in self.cluster.ids() {
            let log = self.cluster.log(id);
            assert!(!log.contains("panicked"), "replica {id} panicked:\n{log}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for id in self.cluster.ids() {
                println!("--- log of replica {id} ---\n{}", self.cluster.log(id));
            }
        }
    }
}

/// Runs `chat-server` to its end.
pub(crate) async fn program(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// The bodies of a conversation, oldest first.
pub(crate) async fn history(client: &Client, peer: &str) -> Outcome<Vec<String>> {
    let mut bodies = Vec::new();
    let mut request = Some(PageRequest::first(500));
    while let Some(page) = request {
        let page = client.list_history(peer, page).await?;
        bodies.extend(page.items.iter().map(|message| message.body.clone()));
        request = page.next_request(500);
    }
    bodies.reverse();
    Ok(bodies)
}

/// The names of all accounts that match.
pub(crate) async fn names(client: &Client, pattern: &str) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    let mut request = Some(PageRequest::first(500));
    while let Some(page) = request {
        let page = client.list_accounts(pattern, page).await?;
        names.extend(page.items.iter().map(|account| account.name.clone()));
        request = page.next_request(500);
    }
    Ok(names)
}

/// Runs a test's story.
pub(crate) fn run(story: impl Future<Output = ()>) {
    let runtime: Runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(story);
}
