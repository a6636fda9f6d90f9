//! The interactive session, with an input that is no terminal.

use crate::fake::{Cluster, Step};
use crate::program::{Running, User};

fn open(user: &User, name: &str) -> Running {
    let mut session = user.start(&[]);
    session.say(&format!("/register {name}"));
    session.say("password");
    session.wait_for(&format!("logged in as {name}"));
    session
}

/// Waits until messages to somebody are delivered at once.
fn online(cluster: &Cluster, name: &str) {
    while !cluster.store().online.contains(name) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn messages_arrive_while_one_types() {
    let cluster = Cluster::start(3);
    let (alice, bob) = (User::of(&cluster), User::of(&cluster));
    let mut alice = open(&alice, "alice");
    let mut bob = open(&bob, "bob");
    online(&cluster, "alice");
    online(&cluster, "bob");
    alice.say("bob: good morning");
    assert_eq!(
        alice.wait_for("to bob"),
        "[1] to bob: delivering, stored on 3 of 3"
    );
    bob.wait_for("alice to bob: good morning");
    alice.wait_for("-- delivered to bob: 1 message");
    bob.say("/to alice");
    bob.say("and to you");
    bob.say(" /as: it is");
    alice.wait_for("bob to alice: and to you");
    alice.wait_for("bob to alice: /as: it is");
    alice.say("/msg nobody x");
    alice.wait_for("error: scripted RECIPIENT_NOT_FOUND");
    alice.wait_for("next: ");
    alice.say("/history bob");
    alice.wait_for("alice to bob: good morning (delivered)");
    bob.say("/read alice");
    bob.wait_for("1 marked as read");
    alice.say("/delete both 1");
    alice.wait_for("1 deleted, stored on 3 of 3");
    // What was shown is confirmed soon, and waits no more.
    while !cluster.store().inbox("alice").is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for (line, answer) in [
        ("/users", "online   bob"),
        ("/conversations", "bob  "),
        ("/inbox", "no messages wait"),
        ("/whoami", "alice, session until"),
        ("/status", "leader: replica 0"),
        ("/nonsense", "there is no command"),
        ("hello", "to whom?"),
        ("/help", "/quit"),
        ("/logout", "logged out"),
        ("/inbox", "error: you are not logged in"),
    ] {
        alice.say(line);
        alice.wait_for(answer);
    }
    // Its own messages were told once, by their answers.
    assert!(
        !alice
            .seen()
            .iter()
            .any(|l| l.contains("alice to bob") && !l.contains("(delivered)"))
    );
    alice.say("/quit");
    assert_eq!(alice.finish().0, 0);
    assert_eq!(bob.finish().0, 0, "the end of the input is the end");
}

#[test]
fn a_switch_of_the_replica_is_said_in_a_line() {
    let mut cluster = Cluster::start(3);
    let user = User::of(&cluster);
    let mut alice = open(&user, "alice");
    online(&cluster, "alice");
    // By now the numbers of all replicas are known.
    alice.say("/status");
    alice.wait_for("leader: replica 0");
    cluster.script(0, [Step::CommitAndDie]);
    alice.say("alice: once");
    alice.wait_for("replica 0 lost, now on replica 1; your message was resent");
    alice.wait_for("-- delivered to alice: 1 message");
    let lost = alice.seen().iter().filter(|l| l.contains("lost")).count();
    assert_eq!(lost, 1, "in one line: {:#?}", alice.seen());
    cluster.buried(0);
    assert_eq!(cluster.store().messages.len(), 1);
    cluster.kill(1);
    alice.wait_for("replica 1 lost, now on replica 2");
    alice.say("/quit");
    assert_eq!(alice.finish().0, 0);
}

#[test]
fn a_kept_session_goes_on_and_what_waited_is_shown_and_confirmed() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    cluster.post("alice", "alice", "note to self");
    let mut session = alice.start(&["repl"]);
    session.wait_for("alice to alice: note to self");
    assert_eq!(session.finish().0, 0);
    assert!(
        cluster.store().inbox("alice").is_empty(),
        "confirmed at the end"
    );
}

#[test]
fn a_message_typed_while_nobody_listens_is_kept_and_sent_once_by_the_next_session() {
    let mut cluster = Cluster::start(2);
    let alice = User::logged_in(&cluster, "alice");
    User::logged_in(&cluster, "bob");
    cluster.kill(0);
    cluster.kill(1);
    let mut session = alice.start(&["repl"]);
    session.say("bob: first");
    session.wait_for("to bob: kept, and sent as soon as a replica can be reached");
    // The outage is known by now.
    session.say("bob: second");
    session.wait_for("to bob: kept");
    session.say("/quit");
    session.wait_for("2 messages are not sent yet");
    assert_eq!(session.finish().0, 0);
    cluster.restart(0);
    let mut session = alice.start(&["repl"]);
    session.wait_for("[1] to bob: queued, stored on 3 of 3");
    session.wait_for("[2] to bob: queued, stored on 3 of 3");
    session.say("bob: third");
    session.wait_for("[3] to bob: queued");
    session.say("/quit");
    assert_eq!(session.finish().0, 0);
    let store = cluster.store();
    let bodies: Vec<_> = store.messages.iter().map(|m| m.body.as_str()).collect();
    assert_eq!(bodies, ["first", "second", "third"]);
}

#[test]
fn a_typing_error_gets_a_suggestion() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    let mut session = alice.start(&["repl"]);
    session.say("/histroy bob");
    session.wait_for("did you mean /history?");
}
