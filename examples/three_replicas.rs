//! Three replicas, two users, and what happens when replicas die: the whole story, told as it happens.
//!
//! ```text
//! cargo run --example three_replicas
//! ```
//!
//! The replicas are processes of their own, with their own files and real sockets; they are killed as `kill -9` does.
//! Ends with an error as soon as something does not hold.
#![allow(clippy::print_stdout, reason = "telling the story is what it is for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chat_client::{
    Client, ClusterStatus, DeliveryState, Event, Message, PageRequest, SubscribeOptions,
    Subscription,
};
use examples::{LocalCluster, Outcome, PATIENCE, in_view, led_by, same_state, until};
use tokio::time::timeout;

const PASSWORD: &str = "correct horse battery staple";

fn main() -> ExitCode {
    // The replicas are this program, too.
    if std::env::args().nth(1).as_deref() == Some("run") {
        return chat_server::cli::main();
    }
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads to give");
    match runtime.block_on(tell()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThis did not hold: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tell() -> Outcome {
    let begun = Instant::now();
    let dir = tempfile::tempdir()?;
    let mut cluster = LocalCluster::create(std::env::current_exe()?, dir.path(), 3)?;

    chapter("Three replicas start");
    cluster.start_all()?;
    let status = in_view(&cluster, &[0, 1, 2]).await?;
    for id in cluster.ids() {
        say(&format!(
            "replica {id}: process {}, clients on {}",
            process(&cluster, id),
            cluster.endpoint(id)
        ));
    }
    say(&format!("replica {} leads", leader(&status)?));

    chapter("Alice and Bob register");
    let alice = User::register(&cluster, "alice").await?;
    let bob = User::register(&cluster, "bob").await?;
    let mut story = Story { sent: Vec::new() };

    chapter("Bob is online: instant delivery");
    let mut inbox = bob.client.subscribe(SubscribeOptions::default()).await?;
    connected(&mut inbox).await?;
    let mut sent_by_alice = alice.client.subscribe(SubscribeOptions::default()).await?;
    connected(&mut sent_by_alice).await?;
    online(&alice, "bob").await?;
    story
        .send(
            &alice,
            "bob",
            "Are you there?",
            Some(DeliveryState::Delivering),
        )
        .await?;
    receive(&mut inbox, "Are you there?").await?;
    // What was handed over is confirmed when the next event is waited for; alice hears of it.
    let confirmed = timeout(Duration::from_millis(500), inbox.next());
    let (_, delivered) = tokio::join!(confirmed, delivered(&mut sent_by_alice));
    delivered?;
    say("alice is told that it was delivered");

    chapter("Bob is offline: the messages wait for him");
    inbox.close().await;
    offline(&alice, "bob").await?;
    for body in ["Gone?", "Then read this later."] {
        story
            .send(&alice, "bob", body, Some(DeliveryState::Queued))
            .await?;
    }
    let mut inbox = bob.client.subscribe(SubscribeOptions::default()).await?;
    receive(&mut inbox, "Gone?").await?;
    receive(&mut inbox, "Then read this later.").await?;

    chapter("The leader is killed; the chat goes on");
    let first = leader(&alice.client.cluster_status().await?)?;
    kill(&mut cluster, first)?;
    story
        .send(&alice, "bob", "Did you notice anything?", None)
        .await?;
    receive(&mut inbox, "Did you notice anything?").await?;
    let second = leader(&in_view(&cluster, &alive(&cluster)).await?)?;
    say(&format!("replica {second} leads"));

    chapter("The second leader is killed; the chat goes on");
    kill(&mut cluster, second)?;
    story.send(&bob, "alice", "No. Did you?", None).await?;
    story.send(&alice, "bob", "Not a thing.", None).await?;
    receive(&mut inbox, "Not a thing.").await?;
    let third = leader(&in_view(&cluster, &alive(&cluster)).await?)?;
    say(&format!("replica {third} leads, alone"));

    chapter("Both return and catch up");
    for id in [first, second] {
        cluster.start(id)?;
        say(&format!(
            "replica {id} is started again: process {}",
            process(&cluster, id)
        ));
    }
    in_view(&cluster, &[0, 1, 2]).await?;
    let (index, hash) = same_state(&cluster).await?;
    say(&format!(
        "all three are in the view again, with the same state {hash} at log index {index}"
    ));
    story
        .send(&bob, "alice", "They are all back.", None)
        .await?;
    led_by(&cluster, 0).await?;
    say("replica 0, the preferred one, has been handed leadership back");

    chapter("All three are killed at once, and started again");
    cluster.kill_at_once(&[0, 1, 2])?;
    say("nobody is left");
    for id in cluster.ids() {
        cluster.start(id)?;
    }
    in_view(&cluster, &[0, 1, 2]).await?;
    story.send(&alice, "bob", "Still here.", None).await?;
    same_state(&cluster).await?;
    for id in cluster.ids() {
        let history = history(&cluster, id, &alice, "bob").await?;
        if history != story.sent {
            return Err(format!(
                "replica {id} has {history:?}, and {:?} were sent",
                story.sent
            )
            .into());
        }
        say(&format!(
            "replica {id} has all {} messages, each once and in order",
            history.len()
        ));
    }
    if let Some(lost) = cluster.lost() {
        return Err(format!(
            "replica {} ended with {}:\n{}",
            lost.replica, lost.status, lost.log
        )
        .into());
    }
    println!(
        "\nEverything held. {:.1} s in all.",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Someone with a client of their own.
struct User {
    name: &'static str,
    client: Client,
}

impl User {
    async fn register(cluster: &LocalCluster, name: &'static str) -> Outcome<User> {
        let client = Client::connect(cluster.endpoints()).await?;
        let registered = client.register(name, PASSWORD).await?;
        client.login(name, PASSWORD).await?;
        say(&format!(
            "{name} has an account, durable on {} replicas",
            registered.durability
        ));
        Ok(User { name, client })
    }
}

/// What was acknowledged so far.
struct Story {
    sent: Vec<String>,
}

impl Story {
    async fn send(
        &mut self,
        from: &User,
        to: &str,
        body: &str,
        expected: Option<DeliveryState>,
    ) -> Outcome {
        let begun = Instant::now();
        let sent = from.client.send_message(to, body).await?;
        self.sent.push(body.to_owned());
        say(&format!(
            "{} to {to}: \"{body}\" [{}, durable on {} replicas, {} ms]",
            from.name,
            sent.state,
            sent.durability,
            begun.elapsed().as_millis()
        ));
        match expected {
            Some(expected) if expected != sent.state => {
                Err(format!("the message should be {expected}, and is {}", sent.state).into())
            }
            _ => Ok(()),
        }
    }
}

fn chapter(title: &str) {
    println!("\n{title}");
}

fn say(line: &str) {
    println!("  {line}");
}

fn process(cluster: &LocalCluster, id: u32) -> u32 {
    cluster.process(id).unwrap_or_default()
}

fn alive(cluster: &LocalCluster) -> Vec<u32> {
    cluster.ids().filter(|id| cluster.is_running(*id)).collect()
}

fn kill(cluster: &mut LocalCluster, id: u32) -> Outcome {
    say(&format!("kill -9 {} (replica {id})", process(cluster, id)));
    Ok(cluster.kill(id)?)
}

fn leader(status: &ClusterStatus) -> Outcome<u32> {
    let leader = status.leader.as_ref().ok_or("there should be a leader")?;
    Ok(leader.replica_id)
}

async fn online(user: &User, name: &str) -> Outcome {
    presence(user, name, true).await
}

async fn offline(user: &User, name: &str) -> Outcome {
    presence(user, name, false).await
}

async fn presence(user: &User, name: &str, expected: bool) -> Outcome {
    until(&format!("{name} online: {expected}"), async || {
        let page = user
            .client
            .list_accounts(name, PageRequest::first(1))
            .await?;
        Ok(page
            .items
            .first()
            .filter(|account| account.online == expected)
            .map(|_| ()))
    })
    .await
}

async fn next(events: &mut Subscription) -> Outcome<Event> {
    let event = timeout(PATIENCE, events.next())
        .await
        .map_err(|_| "no event came")?;
    Ok(event.ok_or("the subscription ended")??)
}

async fn connected(events: &mut Subscription) -> Outcome {
    while !matches!(next(events).await?, Event::Connected { .. }) {}
    Ok(())
}

/// The next message must be this one: none is missing, none comes twice.
async fn receive(events: &mut Subscription, body: &str) -> Outcome {
    loop {
        match next(events).await? {
            Event::MessageReceived(message) if message.body == body => {
                say(&format!("{} receives: \"{body}\"", message.recipient.name));
                return Ok(());
            }
            Event::MessageReceived(message) => {
                return Err(format!("\"{}\" came instead of \"{body}\"", message.body).into());
            }
            _ => {}
        }
    }
}

async fn delivered(events: &mut Subscription) -> Outcome {
    while !matches!(next(events).await?, Event::MessagesDelivered { .. }) {}
    Ok(())
}

/// A conversation as one replica has it, oldest first.
async fn history(cluster: &LocalCluster, id: u32, user: &User, peer: &str) -> Outcome<Vec<String>> {
    let client = Client::builder()
        .endpoints([cluster.endpoint(id)])
        .connect()
        .await?
        .with_session(user.client.session_token());
    let mut bodies = Vec::new();
    let mut request = Some(PageRequest::first(5));
    while let Some(page) = request {
        let page = client.list_history(peer, page).await?;
        bodies.extend(
            page.items
                .iter()
                .map(|message: &Message| message.body.clone()),
        );
        request = page.next_request(5);
    }
    bodies.reverse();
    Ok(bodies)
}
