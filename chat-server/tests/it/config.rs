//! Mistakes in the cluster file, each told with its line and with what to do.

use std::fs;
use std::path::Path;
use std::process::Command;

use chat_server::config::ClusterConfig;
use tempfile::TempDir;

use crate::support::PROGRAM;

const GOOD: &str = r#"[cluster]
id = "0198c5a2-7c1e-4b3a-9d2f-0123456789ab"

[[replica]]
id = 0
client_listen = "127.0.0.1:7400"
peer_listen = "127.0.0.1:7500"
data_dir = "zero"

[[replica]]
id = 1
client_listen = "127.0.0.1:7401"
peer_listen = "127.0.0.1:7501"
data_dir = "one"
"#;

fn check(text: &str) -> Result<ClusterConfig, String> {
    ClusterConfig::parse(text, Path::new("/etc/chat/c.toml")).map_err(|error| error.to_string())
}

#[test]
fn a_good_file_is_read_and_defaults_are_filled_in() {
    let config = check(GOOD).unwrap();
    assert_eq!(config.replicas.len(), 2);
    assert_eq!(config.replicas[1].data_dir, Path::new("/etc/chat/one"));
    assert_eq!(
        config.replicas[1].client_address.to_string(),
        "127.0.0.1:7401"
    );
    assert_eq!(config.timing.suspect_after.as_millis(), 1000);
    let absolute = check(&GOOD.replace("\"one\"", "\"/var/lib/chat\"")).unwrap();
    assert_eq!(absolute.replicas[1].data_dir, Path::new("/var/lib/chat"));
    let spread = GOOD
        .replace(
            "127.0.0.1:7400",
            "0.0.0.0:7400\"\nclient_address = \"a.example.org:7400",
        )
        .replace(
            "127.0.0.1:7401",
            "0.0.0.0:7400\"\nclient_address = \"b.example.org:7400",
        )
        .replace("\"one\"", "\"zero\"");
    check(&spread).unwrap();
}

#[test]
fn each_mistake_is_told_with_its_line_and_what_to_do() {
    for (good, bad, line, words) in [
        (
            "0198c5a2-7c1e-4b3a-9d2f-0123456789ab",
            "chat",
            2,
            "not a UUID; `chat-server config new`",
        ),
        ("id = \"0198", "name = \"0198", 2, "unknown field `name`"),
        ("[cluster]\n", "[clusters]\n", 1, "unknown field `clusters`"),
        ("id = 1\n", "", 10, "missing field `id`"),
        (
            "peer_listen = \"127.0.0.1:7501\"\n",
            "",
            10,
            "missing field `peer_listen`",
        ),
        ("data_dir = \"one\"\n", "", 10, "missing field `data_dir`"),
        (
            "data_dir = \"one\"",
            "data_dir = \"\"",
            14,
            "data_dir is empty; name a folder",
        ),
        (
            "data_dir = \"one\"",
            "data_dir = \"zero\"",
            14,
            "have the same data_dir",
        ),
        (
            "data_dir = \"one\"",
            "data_dirs = \"one\"",
            14,
            "unknown field `data_dirs`",
        ),
        ("data_dir = \"one\"", "data_dir = one", 14, ""),
        (
            "id = 1\n",
            "id = 0\n",
            11,
            "two replicas 0; give each its own id",
        ),
        ("id = 1\n", "id = -1\n", 11, "not a whole number from 0"),
        (
            "id = 1\n",
            "id = \"one\"\n",
            11,
            "not a whole number from 0",
        ),
        (
            "7401",
            "7400",
            12,
            "client_address 127.0.0.1:7400 of replica 1 is also client_address of replica 0",
        ),
        (
            "7401",
            "7500",
            12,
            "is also peer_address of replica 0; give each its own port",
        ),
        ("7501", "7401", 13, "is also client_address of replica 1"),
        (
            "127.0.0.1:7501",
            "localhost:7500",
            13,
            "is also peer_address of replica 0",
        ),
        (
            "127.0.0.1:7401",
            "127.0.0.1",
            12,
            "client_listen: `127.0.0.1` is not an address",
        ),
        (
            "127.0.0.1:7401",
            "127.0.0.1:x",
            12,
            "the port is not a number; write HOST:PORT",
        ),
        (
            "127.0.0.1:7401",
            "127.0.0.1:0",
            12,
            "port 0, where nobody else could find it",
        ),
        (
            "127.0.0.1:7401",
            "127.0.0.1:70000",
            12,
            "not between 1 and 65535",
        ),
        (
            "127.0.0.1:7401",
            "0.0.0.0:7401",
            12,
            "nobody can connect to 0.0.0.0:7401; set client_address",
        ),
        ("127.0.0.1:7501", "[::]:7501", 13, "set peer_address"),
        (
            "[[replica]]\nid = 0",
            "heartbeat_interval = 50\n[[replica]]\nid = 0",
            4,
            "expected a string",
        ),
        (
            "\n[[replica]]\nid = 0",
            "heartbeat_interval = \"50\"\n[[replica]]\nid = 0",
            3,
            "write a whole number and ms",
        ),
        (
            "\n[[replica]]\nid = 0",
            "heartbeat_interval = \"1ms\"\n[[replica]]\nid = 0",
            3,
            "not between 10ms and 1min",
        ),
        (
            "\n[[replica]]\nid = 0",
            "suspect_after = \"100ms\"\n[[replica]]\nid = 0",
            3,
            "raise it",
        ),
        (
            "[[replica]]\nid = 0",
            "log_cap = 999\n[[replica]]\nid = 0",
            4,
            "log_cap is less than log_keep",
        ),
        (
            "[[replica]]\nid = 0",
            "log_keep = 0\n[[replica]]\nid = 0",
            4,
            "log_keep 0 is not between",
        ),
        (
            "\n[[replica]]\nid = 0",
            "recovery_grace = \"1ms\"\n[[replica]]\nid = 0",
            3,
            "10s is usual",
        ),
        (
            "\n[[replica]]\nid = 0",
            "[limits]\nbody_bytes = 0\n[[replica]]\nid = 0",
            4,
            "not between 1 and 1048576",
        ),
        (
            "\n[[replica]]\nid = 0",
            "[limits]\nsessions_per_account = 5000\n[[replica]]\nid = 0",
            4,
            "between 1 and 1000",
        ),
        (
            "\n[[replica]]\nid = 0",
            "[limits]\nsession_lifetime = \"0s\"\n[[replica]]\nid = 0",
            4,
            "30d is usual",
        ),
        (
            "\n[[replica]]\nid = 0",
            "[limits]\nspeed = 9\n[[replica]]\nid = 0",
            4,
            "unknown field `speed`",
        ),
    ] {
        assert!(GOOD.contains(good), "{good}");
        let text = match good {
            // Only the second replica is changed where both have such a line.
            "data_dir = \"one\"" | "id = 1\n" => GOOD.replace(good, bad),
            good => GOOD.replacen(good, bad, 1),
        };
        let problem = check(&text).expect_err(bad);
        assert!(
            problem.starts_with(&format!("/etc/chat/c.toml:{line}: ")),
            "{bad:?} gave {problem}"
        );
        assert!(
            problem.contains(words) && !problem.contains('\n'),
            "{bad:?} gave {problem}"
        );
    }
    let nobody = check("[cluster]\nid = \"0198c5a2-7c1e-4b3a-9d2f-0123456789ab\"\n").unwrap_err();
    assert!(nobody.contains("add a [[replica]] table"), "{nobody}");
}

#[test]
fn the_program_writes_and_checks_files() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("c.toml");
    let program = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let name = file.to_str().unwrap();
    let (code, out, _) = program(&["config", "new", "--out", name, "--replicas", "5"]);
    assert_eq!(code, Some(0), "{out}");
    let written = fs::read_to_string(&file).unwrap();
    let (code, _, err) = program(&["config", "new", "--out", name]);
    assert_eq!(code, Some(1));
    assert!(err.contains("is there already"), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    let (code, out, _) = program(&["config", "check", name]);
    assert_eq!(code, Some(0));
    assert!(out.contains("5 replicas"), "{out}");
    fs::write(&file, written.replace("id = 4", "id = 3")).unwrap();
    let (code, _, err) = program(&["config", "check", name]);
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with("chat-server: ") && err.contains("two replicas 3"),
        "{err}"
    );
    let (code, _, err) = program(&["config", "new", "--base-port", "65530"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("choose a base port"), "{err}");
}
