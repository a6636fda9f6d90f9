//! A program that brings its chat along: three replicas in this process, a conversation, and the loss of a replica.
//!
//! ```sh
//! cargo run --example embedded_cluster
//! ```
#![allow(clippy::print_stdout)]

use std::error::Error;

use chat_client::{Client, PageRequest};
use chat_server::Cluster;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // In a temporary folder, on free ports, unencrypted within this machine; `folder` keeps it, `encrypted` encrypts.
    let mut cluster = Cluster::builder().replicas(3).start().await?;
    println!("three replicas at {}", cluster.endpoints().join(", "));

    let ada = user(&cluster, "ada").await?;
    let bob = user(&cluster, "bob").await?;
    let sent = ada.send_message("bob", "Are you there?").await?;
    println!("sent, durable on {}", sent.durability);

    let leader = cluster.leader().ok_or("nobody leads")?;
    cluster.kill(leader).await;
    println!("replica {leader}, the leader, is gone");

    let inbox = bob.list_inbox(PageRequest::default()).await?.items;
    println!("bob reads: {}", inbox[0].body);
    let sent = bob.send_message("ada", "Still here.").await?;
    println!("answered, durable on {}", sent.durability);

    cluster.start(leader).await?;
    cluster.settled().await?;
    println!("replica {leader} is back");
    cluster.shutdown().await?;
    Ok(())
}

/// A client of a new account, logged in.
async fn user(cluster: &Cluster, name: &str) -> Result<Client, Box<dyn Error>> {
    let client = cluster.client().connect().await?;
    client.register(name, "correct horse").await?;
    client.login(name, "correct horse").await?;
    Ok(client)
}
