//! The manners of the command line: data for programs, profiles, no questions, suggestions, completions and pages.

use crate::fake::Cluster;
use crate::program::{Ran, User};

/// The types of the objects on standard output, each on a line of its own.
fn types(ran: &Ran) -> Vec<String> {
    ran.out
        .lines()
        .map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).expect(line);
            object["type"].as_str().expect(line).to_owned()
        })
        .collect()
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn every_command_speaks_json_where_it_is_asked_to() {
    let cluster = Cluster::start(2);
    let bob = User::logged_in(&cluster, "bob");
    let alice = User::of(&cluster);
    let run = |args: &[&str]| {
        let mut all = vec!["--json"];
        all.extend(args);
        alice.run_with(&all, "password\n").expect_code(0)
    };
    assert_eq!(
        types(&run(&["register", "alice", "--password-stdin"])),
        ["registered"]
    );
    let logged_in = run(&["login", "alice", "--password-stdin"]);
    assert_eq!(types(&logged_in), ["logged_in"]);
    assert!(!logged_in.out.contains("token"), "no secrets in the output");
    assert_eq!(types(&run(&["whoami"])), ["session"]);
    assert_eq!(types(&run(&["users"])), ["account", "account"]);
    let sent = json(&run(&["send", "bob", "\u{1b}[2J hello"]));
    assert_eq!(
        (&sent["type"], &sent["durable_on"]),
        (&"sent".into(), &3.into())
    );
    let history = run(&["history", "bob"]);
    assert!(!history.out.contains('\u{1b}'));
    assert_eq!(json(&history)["body"], "\u{1b}[2J hello");
    assert_eq!(types(&run(&["conversations"])), ["conversation"]);
    assert_eq!(types(&run(&["status"])), ["cluster", "replica", "replica"]);
    cluster.post("bob", "alice", "hi");
    assert_eq!(types(&run(&["inbox", "--keep"])), ["message"]);
    let watched = types(&run(&["watch", "--count", "1"]));
    assert_eq!(watched.first().map(String::as_str), Some("connected"));
    assert!(watched.contains(&"message".to_owned()));
    assert_eq!(json(&run(&["read", "bob"]))["count"], 1);
    let id = sent["id"].as_str().unwrap().to_owned();
    assert_eq!(types(&run(&["delete", "--for-both", &id])), ["deleted"]);
    assert_eq!(types(&run(&["logout"])), ["logged_out"]);
    assert_eq!(bob.run(&["whoami"]).expect_code(0).err, "");
    let refused = alice.run(&["--json", "whoami"]).expect_code(4);
    let error: serde_json::Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!(
        (&error["type"], &error["code"]),
        (&"error".into(), &4.into())
    );
    assert!(error["advice"].as_str().unwrap().contains("log in"));
}

#[test]
fn a_whole_history_is_exported_oldest_first() {
    let cluster = Cluster::start(1);
    User::logged_in(&cluster, "bob");
    User::logged_in(&cluster, "carol");
    let alice = User::logged_in(&cluster, "alice");
    for n in 0..3 {
        alice.run(&["send", "bob", &n.to_string()]).expect_code(0);
    }
    cluster.post("carol", "alice", "hi");
    let out = alice.file("history.jsonl", "");
    let told = alice.run(&["export", "--out", &out]).expect_code(0);
    assert!(
        told.err.contains("4 messages of 2 conversations"),
        "{told:?}"
    );
    let file = std::fs::read_to_string(&out).unwrap();
    let piped = alice.run(&["export"]).expect_code(0);
    assert_eq!(piped.out, file);
    let all = [
        "account",
        "conversation",
        "message",
        "message",
        "message",
        "conversation",
        "message",
    ];
    assert_eq!(types(&piped), all);
    let bodies: Vec<_> = piped
        .out
        .lines()
        .filter_map(|line| {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            object["body"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(bodies, ["0", "1", "2", "hi"]);
    let nowhere = alice
        .run(&["export", "--out", "/no/such/folder/x"])
        .expect_code(1);
    assert!(
        nowhere.err.contains("/no/such/folder/x cannot be written"),
        "{nowhere:?}"
    );
}

#[test]
fn profiles_name_servers_and_have_sessions_of_their_own() {
    let cluster = Cluster::start(1);
    let user = User::of(&cluster);
    let servers = format!("{:?}", cluster.addresses());
    let config = user.file(
        "config.toml",
        &format!("default_profile = \"home\"\n[profile.home]\nservers = {servers}\n[profile.work]\nservers = [\"127.0.0.1:9\"]\ntimeout = \"300ms\"\n"),
    );
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str], input: &str| {
        let mut command = user.command(args);
        command
            .env_remove("CHAT_SERVERS")
            .env_remove("CHAT_SESSION")
            .env("CHAT_CLIENT_CONFIG", &config)
            .env("HOME", home.path());
        user.finish(command, input)
    };
    run(&["register", "alice", "--password-stdin"], "password\n").expect_code(0);
    run(&["login", "alice", "--password-stdin"], "password\n").expect_code(0);
    assert!(
        home.path()
            .join(".local/state/chat/session-home.toml")
            .exists()
    );
    run(&["whoami"], "").expect_code(0);
    run(&["--profile", "work", "whoami"], "").expect_code(4);
    run(&["--profile", "work", "status"], "").expect_code(6);
    let typo = run(&["--profile", "wrok", "whoami"], "").expect_code(2);
    assert!(typo.err.contains("did you mean work?"), "{typo:?}");
    std::fs::write(&config, "profiles = 1").unwrap();
    let spoilt = run(&["whoami"], "").expect_code(2);
    assert!(
        spoilt.err.contains("config.toml cannot be used"),
        "{spoilt:?}"
    );
}

#[test]
fn nothing_is_asked_where_that_is_forbidden() {
    let cluster = Cluster::start(1);
    let alice = User::logged_in(&cluster, "alice");
    for args in [
        &["--no-input"][..],
        &["--no-input", "login", "alice"],
        &["--no-input", "delete-account"],
    ] {
        let ran = alice.run(args).expect_code(2);
        assert!(
            ran.err.contains("error: ") && ran.err.contains("next: "),
            "{ran:?}"
        );
    }
}

#[test]
fn typing_errors_get_suggestions_and_no_colour_is_written_into_files() {
    let nobody = User::at("127.0.0.1:9");
    for (wrong, right) in [
        ("histroy", "history"),
        ("conversation", "conversations"),
        ("--jsno", "--json"),
    ] {
        let ran = nobody.run(&[wrong]).expect_code(2);
        assert!(ran.err.contains(right), "{ran:?}");
        assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
    }
    assert!(
        !nobody
            .run(&["--help"])
            .expect_code(0)
            .out
            .contains('\u{1b}')
    );
}

#[test]
fn a_command_that_is_not_understood_is_an_object_too_where_json_is_asked_for() {
    let nobody = User::at("127.0.0.1:9");
    let ran = nobody.run(&["--json", "histroy"]).expect_code(2);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["code"], 2);
    assert!(
        error["message"].as_str().unwrap().contains("'history'"),
        "{ran:?}"
    );
}

#[test]
fn every_command_has_an_example() {
    let nobody = User::at("127.0.0.1:9");
    let help = nobody.run(&["help"]).expect_code(0).out;
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap();
    let names = commands.lines().filter_map(|l| l.split_whitespace().next());
    let names: Vec<_> = names.filter(|name| *name != "help").collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let help = nobody.run(&[name, "--help"]).expect_code(0).out;
        assert!(help.contains(&format!("  chat-client {name}")), "{help}");
    }
}

#[test]
fn shells_and_man_are_told_of_every_command() {
    let nobody = User::at("127.0.0.1:9");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = nobody.run(&["completions", shell]).expect_code(0);
        assert!(script.out.contains("conversations"), "{shell}");
    }
    let page = nobody.run(&["man"]).expect_code(0);
    assert!(page.out.contains(".TH chat-client 1"), "{}", page.out);
    let folder = tempfile::tempdir().unwrap();
    nobody
        .run(&["man", "--out", folder.path().to_str().unwrap()])
        .expect_code(0);
    for page in [
        "chat-client.1",
        "chat-client-send.1",
        "chat-client-export.1",
    ] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
}

#[test]
fn a_bench_measures_and_verifies() {
    let cluster = Cluster::start(2);
    let nobody = User::of(&cluster);
    let args = [
        "bench",
        "--clients",
        "2",
        "--pairs",
        "3",
        "--duration",
        "300ms",
        "--offline",
        "34",
    ];
    let ran = nobody.run(&args).expect_code(0);
    assert!(ran.out.contains("verified: each of the"), "{ran:?}");
    assert!(ran.out.contains("longest gap"), "{ran:?}");
    let open = [
        "--json",
        "bench",
        "--stream",
        "--rate",
        "100",
        "--duration",
        "500ms",
        "--pairs",
        "2",
        "--keep",
    ];
    let report = json(&nobody.run(&open).expect_code(0));
    assert_eq!(report["stream"], true);
    assert_eq!(report["acknowledged"], 50);
    assert_eq!(report["verified"]["present"], 50);
    assert_eq!(report["delivery_us"]["count"], 50);
    assert_eq!(
        cluster.store().accounts().len(),
        4,
        "only what was to be kept is left"
    );
}
