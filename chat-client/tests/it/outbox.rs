//! What is written while nobody can be reached is sent once, whatever dies in between.

use std::path::Path;
use std::time::Duration;

use chat_client::{AccountId, Client, Error, Outbox, OutboxEvent, OutboxEvents, Reason};
use tonic::Code;

use crate::fake::{Cluster, Step, refusal};

struct World {
    cluster: Cluster,
    client: Client,
    account: AccountId,
    folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let cluster = Cluster::start(2);
        cluster.user("bob").await;
        let client = cluster
            .builder()
            .total_deadline(Duration::from_millis(400))
            .connect()
            .await
            .unwrap();
        client.register("alice", "password").await.unwrap();
        let account = client.login("alice", "password").await.unwrap().account.id;
        cluster.forget();
        Self {
            cluster,
            client,
            account,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn open(&self) -> (Outbox, OutboxEvents) {
        Outbox::open(&self.client, self.account, self.folder.path())
            .await
            .unwrap()
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let folder = self.folder.path().join(self.account.to_string());
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    fn bodies(&self) -> Vec<String> {
        let store = self.cluster.store();
        store.messages.iter().map(|m| m.body.clone()).collect()
    }
}

async fn next(events: &mut OutboxEvents) -> OutboxEvent {
    tokio::time::timeout(Duration::from_secs(20), events.next())
        .await
        .expect("an event in time")
        .expect("an open outbox")
}

#[tokio::test]
async fn what_is_written_while_nobody_listens_is_sent_when_somebody_does_in_order() {
    let mut world = World::start().await;
    world.cluster.kill(0);
    world.cluster.kill(1);
    let (outbox, mut events) = world.open().await;
    for n in 0..3 {
        outbox.put("bob", &n.to_string()).await.unwrap();
    }
    assert!(matches!(next(&mut events).await, OutboxEvent::Waiting(_)));
    assert_eq!((outbox.waiting().len(), world.files().len()), (3, 3));
    world.cluster.restart(1);
    for n in 0..3 {
        match next(&mut events).await {
            OutboxEvent::Sent { message, answer } => {
                assert_eq!(message.body, n.to_string());
                assert_eq!(answer.durability.to_string(), "3 of 3");
            }
            other => panic!("{other:?}"),
        }
    }
    outbox.flushed().await;
    assert_eq!(world.bodies(), ["0", "1", "2"]);
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn another_program_goes_on_and_repeats_nothing() {
    let world = World::start().await;
    // The service stores the message; the program dies before it hears of it.
    world.cluster.script(0, [Step::CommitAndHang]);
    world.cluster.script(1, vec![Step::Hang; 50]);
    let (outbox, _events) = world.open().await;
    let put = outbox.put("bob", "once").await.unwrap();
    while world.bodies().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(outbox);
    assert_eq!(world.files().len(), 1, "it is not known to be sent");
    world.cluster.script_clear(0);
    world.cluster.script_clear(1);
    let (outbox, mut events) = world.open().await;
    assert_eq!(outbox.waiting().as_slice(), std::slice::from_ref(&put));
    match next(&mut events).await {
        OutboxEvent::Sent { message, .. } => assert_eq!(message, put),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.bodies(), ["once"], "exactly once");
    assert_eq!(world.cluster.ids_of("SendMessage"), [put.id.to_string()]);
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn two_programs_over_one_folder_send_each_message_once() {
    let mut world = World::start().await;
    world.cluster.kill(0);
    world.cluster.kill(1);
    let (one, _one_events) = world.open().await;
    one.put("bob", "a").await.unwrap();
    one.put("bob", "b").await.unwrap();
    let (two, _two_events) = world.open().await;
    assert_eq!(one.waiting(), two.waiting());
    world.cluster.restart(0);
    one.flushed().await;
    two.flushed().await;
    assert_eq!(world.bodies(), ["a", "b"]);
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn a_refused_message_is_told_and_does_not_hold_up_the_others() {
    let world = World::start().await;
    let (outbox, mut events) = world.open().await;
    outbox.put("nobody", "x").await.unwrap();
    outbox.put("bob", "y").await.unwrap();
    match next(&mut events).await {
        OutboxEvent::Refused { message, error } => {
            assert_eq!(message.body, "x");
            assert_eq!(error.reason(), Some(Reason::RecipientNotFound));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(&mut events).await, OutboxEvent::Sent { .. }));
    assert!(world.files().is_empty());
}

#[tokio::test]
async fn it_waits_for_a_new_session_and_never_sends_in_the_name_of_another() {
    let world = World::start().await;
    let over = refusal(Code::Unauthenticated, Reason::SessionExpired);
    world.cluster.script(0, [Step::Refuse(over)]);
    let (outbox, mut events) = world.open().await;
    // Somebody else logs in with the same client meanwhile.
    outbox.put("bob", "from alice").await.unwrap();
    assert!(matches!(
        next(&mut events).await,
        OutboxEvent::Paused(Error::Unauthenticated(_))
    ));
    world.client.login("bob", "password").await.unwrap();
    assert_eq!(outbox.waiting().len(), 1);
    let alice = world.client.with_session(None);
    outbox.resume(alice.login("alice", "password").await.unwrap().token);
    assert!(matches!(next(&mut events).await, OutboxEvent::Sent { .. }));
    let sender = world.cluster.store().messages[0].sender.clone().unwrap();
    assert_eq!(sender.username, "alice");
}

#[cfg(unix)]
#[tokio::test]
async fn its_files_are_closed_to_others_and_spoilt_ones_are_told_of() {
    use std::os::unix::fs::PermissionsExt;

    let mut world = World::start().await;
    world.cluster.kill(0);
    world.cluster.kill(1);
    let (outbox, _events) = world.open().await;
    outbox.put("bob", "secret").await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = world.files().remove(0);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    let strange = file.with_file_name("letter.json");
    std::fs::write(&strange, "{}").unwrap();
    std::fs::write(file.with_file_name(".half.json.new"), "{").unwrap();
    let (again, mut events) = world.open().await;
    assert_eq!(again.waiting().len(), 1);
    match next(&mut events).await {
        OutboxEvent::Spoilt { file, .. } => assert_eq!(file, strange),
        other => panic!("{other:?}"),
    }
    let nowhere = Outbox::open(&world.client, world.account, &strange).await;
    let error = nowhere.unwrap_err().to_string();
    assert!(error.contains("letter.json"), "{error}");
}
