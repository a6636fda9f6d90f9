//! A replicated map of one's own: three replicas of it in this process, first on disks and sockets, then in memory.
//!
//! `cargo run --example replicated_map`
#![allow(clippy::print_stdout, reason = "it tells what happens")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use chat_replication::driver::{Options, Running};
use chat_replication::embed::{in_memory, on_disk};
use chat_replication::grpc::GrpcTransport;
use chat_replication::handle::Handle;
use chat_replication::memory_transport::MemoryNetwork;
use chat_replication::replica::Seed;
use chat_replication::types::{ClusterId, ReplicaId};
use chat_replication::whole_state::{Application, Quarantined, WholeState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;
type Replica = (Handle<Result<Option<String>, Quarantined>>, Running);

#[derive(Serialize, Deserialize, Default)]
struct Map(BTreeMap<String, String>);

impl Application for Map {
    type Response = Option<String>;

    /// `KEY=VALUE` sets a key and answers what it was before; `KEY` only answers.
    fn apply(&mut self, command: &[u8]) -> Option<String> {
        let command = String::from_utf8_lossy(command);
        match command.split_once('=') {
            Some((key, value)) => self.0.insert(key.into(), value.into()),
            None => self.0.get(&*command).cloned(),
        }
    }
}

/// Proposes at one replica after the other until the leader has answered. Setting a key twice does no harm.
async fn ask(replicas: &[Replica], command: &'static str) -> Option<String> {
    for (handle, _) in replicas.iter().cycle() {
        if let Ok(done) = handle.propose(Bytes::from_static(command.as_bytes())).await {
            let (on, of) = (done.durable_on, done.replicas);
            println!("  {command:12}  durable on {on} of {of}");
            return done.response.expect("the map does not panic");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

async fn story(mut replicas: Vec<Replica>) -> Outcome {
    assert_eq!(ask(&replicas, "colour=blue").await, None);
    let before = ask(&replicas, "colour=green").await;
    assert_eq!(before.as_deref(), Some("blue"));
    for dead in ["the leader", "the next leader"] {
        replicas.remove(0).1.halt().await?;
        println!("  {dead} is gone");
        assert_eq!(ask(&replicas, "colour").await.as_deref(), Some("green"));
    }
    Ok(replicas.remove(0).1.stop().await?)
}

#[tokio::main]
async fn main() -> Outcome {
    let cluster = ClusterId(Uuid::new_v4());
    let mut seeds = Vec::new();
    let free = [(); 3].map(|()| GrpcTransport::bind("127.0.0.1:0"));
    for (id, port) in (0..).zip(free) {
        seeds.push(Seed {
            id: ReplicaId(id),
            peer_address: port?.local_addr()?.to_string(),
            client_address: String::new(),
        });
    }
    let options = || Options::new(seeds.clone());

    println!("On redb and gRPC:");
    let folder = tempfile::tempdir()?;
    let mut replicas = Vec::new();
    for seed in &seeds {
        let folder = folder.path().join(seed.id.to_string());
        let map = WholeState::<Map>::open(&folder)?;
        replicas.push(on_disk(&folder, cluster, seed.id, options(), map)?);
    }
    story(replicas).await?;

    println!("In memory:");
    let network = MemoryNetwork::new();
    let mut replicas = Vec::new();
    for seed in &seeds {
        let map = WholeState::<Map>::in_memory();
        replicas.push(in_memory(&network, cluster, seed.id, options(), map)?);
    }
    story(replicas).await
}
