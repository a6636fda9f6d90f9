//! The program: what it prints, what it keeps, and how it ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use chat_client::Reason;
use tonic::Code;

use crate::fake::{Cluster, Step, no_leader, refusal};
use crate::program::User;

#[test]
fn two_users_talk() {
    let cluster = Cluster::start(3);
    let alice = User::logged_in(&cluster, "alice");
    let bob = User::logged_in(&cluster, "bob");
    assert_eq!(
        alice.run(&["whoami"]).expect_code(0).out,
        "alice, session until 2100-03-01 00:00:00Z\n"
    );
    let users = alice.run(&["users"]).expect_code(0);
    assert_eq!(users.out, "offline  alice\noffline  bob\n");

    let sent = alice
        .run(&["send", "bob", "good", "morning"])
        .expect_code(0);
    assert!(sent.out.ends_with("queued, stored on 3 of 3\n"), "{sent:?}");
    alice
        .run_with(&["send", "bob", "-"], "two\nlines\n")
        .expect_code(0);
    alice.run(&["send", "bob", "-x", "--help"]).expect_code(0);

    let inbox = bob.run(&["inbox", "--keep"]).expect_code(0);
    assert!(
        inbox.out.contains("alice to bob: good morning\n"),
        "{inbox:?}"
    );
    assert!(
        inbox.out.contains("alice to bob: two\n    | lines\n"),
        "{inbox:?}"
    );
    assert!(inbox.out.contains("alice to bob: -x --help\n"), "{inbox:?}");
    assert_eq!(bob.run(&["inbox"]).expect_code(0).out, inbox.out);
    assert_eq!(bob.run(&["inbox"]).expect_code(0).out, "", "confirmed");

    let conversations = bob.run(&["conversations"]).expect_code(0);
    assert!(
        conversations.out.starts_with("alice  3 unread  "),
        "{conversations:?}"
    );
    assert_eq!(
        bob.run(&["read", "alice"]).expect_code(0).out,
        "3 marked as read\n"
    );

    let history = bob
        .run(&["history", "alice", "--limit", "2"])
        .expect_code(0);
    assert_eq!(history.out.matches("alice to bob").count(), 2);
    assert!(
        history.out.find("two") < history.out.find("-x"),
        "oldest first: {history:?}"
    );
    let id = history.out.split_whitespace().nth(2).unwrap().to_owned();
    bob.run(&["delete", "--for-both", &id]).expect_code(4);
    assert_eq!(
        bob.run(&["delete", &id]).expect_code(0).out,
        "1 deleted, stored on 3 of 3\n"
    );
    bob.run(&["delete", &id]).expect_code(3);
    assert_eq!(
        bob.run(&["read", "--message", &id]).expect_code(0).out,
        "0 marked as read\n"
    );

    alice.run(&["logout"]).expect_code(0);
    assert!(!alice.session_file().exists());
    alice.run(&["whoami"]).expect_code(4);
}

#[test]
fn a_user_ends_a_session_that_is_open_elsewhere() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    let listed = alice.run(&["sessions"]).expect_code(0).out;
    assert!(
        listed.contains("  since 2026-01-01 00:00:00Z, until 2100-03-01 00:00:00Z\n"),
        "{listed}"
    );
    let id = listed.split(' ').next().unwrap();
    let nobodys = uuid::Uuid::nil().to_string();
    let refused = alice.run(&["sessions", "revoke", &nobodys]).expect_code(3);
    assert!(refused.err.contains("chat-client sessions"), "{refused:?}");
    alice.run(&["sessions", "revoke", "x"]).expect_code(2);
    let ended = alice.run(&["sessions", "revoke", id]).expect_code(0);
    assert_eq!(
        ended.out,
        format!("ended the session {id}, stored on 3 of 3\n")
    );
    alice.run(&["whoami"]).expect_code(4);
}

#[test]
fn every_failure_has_its_exit_code_its_reason_and_advice() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    let stranger = User::of(&cluster);
    for (who, args, input, code, words) in [
        (
            &alice,
            &["send", "nobody", "x"][..],
            "",
            3,
            "RECIPIENT_NOT_FOUND",
        ),
        (&alice, &["send", "alice", ""], "", 2, "BODY_EMPTY"),
        (&alice, &["history", "nobody"], "", 3, "PEER_NOT_FOUND"),
        (&alice, &["users", "[z-a]"], "", 2, "INVALID_PATTERN"),
        (
            &alice,
            &["register", "alice", "--password-stdin"],
            "x\n",
            5,
            "NAME_TAKEN",
        ),
        (
            &alice,
            &["register", "a b", "--password-stdin"],
            "x\n",
            2,
            "INVALID_USERNAME",
        ),
        (
            &alice,
            &["login", "alice", "--password-stdin"],
            "wrong\n",
            4,
            "BAD_CREDENTIALS",
        ),
        (
            &alice,
            &["login", "alice", "--password-stdin"],
            "",
            2,
            "no password came",
        ),
        (
            &alice,
            &["login", "alice", "--password-file", "/nonexistent"],
            "",
            2,
            "/nonexistent",
        ),
        (
            &alice,
            &["delete-account", "--password-stdin"],
            "password\n",
            2,
            "--yes",
        ),
        (&stranger, &["inbox"], "", 4, "chat-client login"),
        (&stranger, &["watch"], "", 4, "chat-client login"),
        (
            &stranger,
            &["whoami", "--server", "localhost"],
            "",
            2,
            "HOST:PORT",
        ),
        (
            &stranger,
            &["status", "--server", "no-such-host.invalid:7400"],
            "",
            6,
            "resolved",
        ),
        (&stranger, &["nonsense"], "", 2, "nonsense"),
        (&stranger, &["delete", "7"], "", 2, "is not an id"),
    ] {
        let ran = who.run_with(args, input).expect_code(code);
        assert!(ran.err.contains(words), "{args:?}: {ran:?}");
        assert_eq!(ran.out, "", "{args:?}");
        if !ran.err.contains("Usage:") && !ran.err.contains("For more information") {
            assert!(ran.err.contains("  next: "), "{args:?}: {ran:?}");
        }
    }
}

#[test]
fn nobody_listening_nobody_leading_and_nobody_answering_are_three_things() {
    let vacant = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let lonely = User::at(&vacant);
    let status = lonely.run(&["status"]).expect_code(6);
    assert!(status.err.contains("refused"), "{status:?}");
    let register = [
        "register",
        "alice",
        "--password-stdin",
        "--timeout",
        "100ms",
    ];
    let ran = lonely.run_with(&register, "password\n").expect_code(6);
    assert!(ran.err.contains("chat-server cluster"), "{ran:?}");

    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    cluster.script(0, vec![Step::Refuse(no_leader()); 1000]);
    let ran = alice.run(&["--timeout", "100ms", "whoami"]).expect_code(6);
    assert!(ran.err.contains("no leader is known"), "{ran:?}");
    cluster.script_clear(0);
    cluster.script(0, vec![Step::Hang; 10]);
    alice
        .run(&["--timeout", "200ms", "--attempt-timeout", "50ms", "whoami"])
        .expect_code(7);
}

#[test]
fn a_dead_replica_goes_unnoticed_and_the_status_shows_it() {
    let mut cluster = Cluster::start(3);
    let alice = User::logged_in(&cluster, "alice");
    cluster.kill(0);
    cluster.leader(Some(1));
    alice.run(&["send", "alice", "still here"]).expect_code(0);
    let status = alice.run(&["status"]).expect_code(0);
    let rows: Vec<Vec<&str>> = status
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..3], ["leader:", "replica", "1"], "{status:?}");
    let addresses = cluster.addresses();
    assert_eq!(
        rows[3][..4],
        ["0", addresses[0].as_str(), "unreachable", "-"]
    );
    assert_eq!(
        rows[4],
        [
            "1",
            addresses[1].as_str(),
            "leader",
            "yes",
            "42",
            "41",
            "40",
            "1",
            "c0ffee00",
            "0"
        ]
    );
    assert_eq!(rows[5][..3], ["2", addresses[2].as_str(), "follower"]);
    assert!(status.out.contains("refused"), "{status:?}");
}

#[test]
fn the_session_file_is_for_its_owner_alone() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    let mode = || {
        std::fs::metadata(alice.session_file())
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(alice.session_file(), PermissionsExt::from_mode(0o644)).unwrap();
    let ran = alice.run(&["whoami"]).expect_code(0);
    assert!(
        ran.err
            .contains("warning: others could read the session file"),
        "{ran:?}"
    );
    assert_eq!(mode(), 0o600);
    assert_eq!(alice.run(&["whoami"]).expect_code(0).err, "");
    std::fs::write(alice.session_file(), "rubbish").unwrap();
    let ran = alice.run(&["whoami"]).expect_code(1);
    assert!(ran.err.contains("session.toml"), "{ran:?}");
}

#[test]
fn a_later_command_sees_no_less_than_an_earlier_one() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    let kept = || std::fs::read_to_string(alice.session_file()).unwrap();
    let before = kept();
    alice.run(&["send", "alice", "x"]).expect_code(0);
    assert!(
        before.contains("read_token") && kept() != before,
        "{before}"
    );
}

#[test]
fn escapes_of_others_do_not_reach_the_terminal() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    let evil = "ev\u{1b}]0;il";
    let login = User::of(&cluster);
    login
        .run_with(&["register", evil, "--password-stdin"], "p\n")
        .expect_code(0);
    cluster.post(
        evil,
        "alice",
        "\u{1b}[2J\u{202e}gone\r\nalice to bob: forged",
    );
    cluster.script(0, [Step::Refuse(tonic::Status::not_found("\u{1b}[31mred"))]);
    for args in [
        &["whoami"][..],
        &["users"],
        &["inbox", "--keep"],
        &["history", evil],
        &["conversations"],
        &["watch", "--count", "1"],
    ] {
        let ran = alice.run(args);
        let shown = ran.out + &ran.err;
        assert!(
            !shown.contains(['\u{1b}', '\u{202e}', '\r']),
            "{args:?}: {shown:?}"
        );
        assert!(
            !shown.lines().any(|l| l.starts_with("alice to bob")),
            "{args:?}: {shown:?}"
        );
    }
}

#[test]
fn a_closed_output_is_no_panic() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    for n in 0..2000 {
        cluster.post("alice", "alice", &format!("{n} {}", "x".repeat(100)));
    }
    let mut command = alice.command(&["history", "alice", "--limit", "2000"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.contains("alice to alice: 0 "), "{first}");
    // The reader is gone; the program ends quietly.
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(0), "")
    );
}

#[test]
fn passwords_come_from_files_and_the_account_goes_with_its_session() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    let old = alice.file("old", "password\n");
    let new = alice.file("new", "better\nnot this line\n");
    alice
        .run(&[
            "passwd",
            "--password-file",
            &old,
            "--new-password-file",
            &new,
        ])
        .expect_code(0);
    alice
        .run_with(&["passwd", "--password-stdin"], "better\nbest\n")
        .expect_code(0);
    alice
        .run(&["delete-account", "--yes", "--password-file", &old])
        .expect_code(4);
    assert!(alice.session_file().exists());
    let ran = alice.run_with(&["delete-account", "--yes", "--password-stdin"], "best\n");
    assert_eq!(
        ran.expect_code(0).out,
        "deleted the account alice, stored on 3 of 3\n"
    );
    assert!(!alice.session_file().exists());
}

#[test]
fn watching_shows_messages_and_confirms_them() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    User::logged_in(&cluster, "bob");
    cluster.post("bob", "alice", "one");
    let mut watching = alice.start(&["watch", "--count", "2"]);
    watching.wait_for("bob to alice: one");
    cluster.post("bob", "alice", "two");
    watching.wait_for("bob to alice: two");
    assert_eq!(watching.finish().0, 0);
    assert!(cluster.store().inbox("alice").is_empty());
}

#[test]
fn an_expired_session_is_told_as_such() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    cluster.script(
        0,
        [Step::Refuse(refusal(
            Code::Unauthenticated,
            Reason::SessionExpired,
        ))],
    );
    let ran = alice.run(&["inbox"]).expect_code(4);
    assert!(ran.err.contains("log in again"), "{ran:?}");
}

#[test]
fn help_and_version_are_no_errors() {
    let nobody = User::at("127.0.0.1:9");
    let help = nobody.run(&["--help"]).expect_code(0);
    for command in ["register", "whoami", "delete-account", "repl"] {
        assert!(help.out.contains(command), "{help:?}");
        let help = nobody.run(&[command, "--help"]).expect_code(0);
        assert!(help.out.contains("Example"), "{help:?}");
    }
    assert!(
        nobody
            .run(&["--version"])
            .expect_code(0)
            .out
            .starts_with("chat-client ")
    );
}
