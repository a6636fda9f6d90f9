//! What tools see of a replica: health, readiness, metrics.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{Cluster, PROGRAM, Setup, eventually, figure};

#[tokio::test(flavor = "multi_thread")]
async fn figures_tell_what_happens_in_the_chat_and_between_replicas() {
    let cluster = Cluster::three().await;
    let (ada, bob) = (cluster.user("ada").await, cluster.user("bob").await);
    let sent = ada.send_message("bob", "hello").await.unwrap();
    bob.confirm_delivery(&[sent.message_id]).await.unwrap();
    bob.login("bob", "wrong").await.unwrap_err();
    let leader = cluster.settled(3).await;
    let page = eventually("all followers have everything", || async {
        let (_, page) = cluster.page(leader, "/metrics")?;
        let lag = figure(&page, "chat_messages_delivered_total");
        (lag == 1.0).then_some(page)
    })
    .await;
    for (name, expected) in [
        ("chat_ready", 1.0),
        ("chat_replication_leads", 1.0),
        ("chat_replication_leader", leader as f64),
        ("chat_replication_view_size", 3.0),
        ("chat_replication_replicas", 3.0),
        ("chat_messages_sent_total", 1.0),
        ("chat_messages_queued_total", 1.0),
        ("chat_logins_total{outcome=\"ok\"}", 2.0),
        ("chat_logins_total{outcome=\"failed\"}", 1.0),
        ("chat_accounts", 2.0),
        ("chat_messages", 1.0),
        ("chat_streams", 0.0),
        ("chat_replication_orphans", 0.0),
    ] {
        assert_eq!(figure(&page, name), expected, "{name}");
    }
    assert!(figure(&page, "chat_commit_seconds_count") >= 6.0, "{page}");
    assert!(figure(&page, "chat_log_write_seconds_count") >= 6.0);
    assert!(page.contains("chat_build_info{version="), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_alive_at_once_and_ready_in_a_view_only() {
    let mut cluster = Cluster::new(&Setup::default());
    cluster.launch(0);
    let (status, why) = eventually("it says what it waits for", || async {
        let page = cluster.page(0, "/readyz")?;
        page.1.contains("waiting").then_some(page)
    })
    .await;
    assert_eq!(status, 503, "{why}");
    assert_eq!(cluster.page(0, "/livez").unwrap().0, 200);
    assert!(!cluster.is_healthy(0).await);
    cluster.launch(1);
    cluster.launch(2);
    cluster.settled(3).await;
    eventually("it is ready", || async {
        (cluster.page(0, "/readyz")?.0 == 200).then_some(())
    })
    .await;
    assert!(cluster.is_healthy(0).await);
    assert_eq!(cluster.page(0, "/else").unwrap().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_an_alert_names_is_exported() {
    // An alert over a name that nobody exports is silent for ever.
    let cluster = Cluster::three().await;
    let leader = cluster.settled(3).await;
    let (_, page) = cluster.page(leader, "/metrics").unwrap();
    let exported: Vec<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let alerts = include_str!("../../ops/alerts.yml");
    let names: Vec<&str> = alerts
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("chat_"))
        // Words of explanation name a histogram as a whole.
        .filter(|word| !word.ends_with("_seconds") || word.ends_with("_timestamp_seconds"))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(exported.contains(&name), "{name} is not among {exported:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_read_again_and_a_file_with_a_mistake_changes_nothing() {
    let cluster = Cluster::one().await;
    let ada = cluster.user("ada").await;
    cluster.user("bob").await;
    let body = "x".repeat(1000);
    ada.send_message("bob", &body).await.unwrap();

    let text = fs::read_to_string(cluster.file()).unwrap();
    let smaller = text
        .replace("[limits]", "[limits]\nbody_bytes = 10")
        .replace("# log_keep = 10000", "log_keep = 9999");
    fs::write(cluster.file(), smaller).unwrap();
    cluster.signal(0, Signal::SIGHUP);
    eventually("the smaller limit holds", || async {
        ada.send_message("bob", &body).await.err().map(drop)
    })
    .await;
    ada.send_message("bob", "short").await.unwrap();
    eventually("what needs a restart is named", || async {
        let log = cluster.log_of(0);
        log.contains("cluster has changed, which needs a restart")
            .then_some(())
    })
    .await;

    fs::write(
        cluster.file(),
        text.replace("[limits]", "[limits]\nbody_bytes = 0"),
    )
    .unwrap();
    cluster.signal(0, Signal::SIGHUP);
    eventually("the mistake is told", || async {
        let log = cluster.log_of(0);
        log.contains("the configuration stays as it was")
            .then_some(())
    })
    .await;
    ada.send_message("bob", &body).await.unwrap_err();
    ada.send_message("bob", "short").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signal_stops_cleanly_and_says_that_it_hands_over() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.settled(3).await;
    cluster.signal(leader, Signal::SIGTERM);
    eventually("it has stopped", || async {
        cluster.log_of(leader).ends_with("stopped\n").then_some(())
    })
    .await;
    assert!(cluster.stop(leader).success());
    let log = cluster.log_of(leader);
    assert!(log.contains("takes over"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_is_wrong_in_words_and_by_its_exit_code() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.settled(3).await;
    let id = leader.to_string();
    let status = ["status", "--id", &id];
    let (said, code) = cluster.program(&status).await;
    // The disk of the machine that runs this may be low, which is no matter of the cluster.
    let wrong = said.matches("WRONG").count() - said.matches("WRONG: the disk").count();
    assert_eq!(wrong, 0, "{said}");
    assert!(
        code == Some(0) || said.contains("WRONG: the disk"),
        "{said}"
    );
    for other in (0..3).filter(|id| *id != leader) {
        cluster.kill(other);
    }
    let said = eventually("the others are missed", || async {
        let (said, code) = cluster.program(&status).await;
        (code == Some(1) && said.contains("one of three live")).then_some(said)
    })
    .await;
    assert!(said.contains("the next crash stops the chat"), "{said}");
    assert!(said.contains("DO: start what is not running"), "{said}");
    let (json, _) = cluster.program(&["status", "--json", "--id", &id]).await;
    assert!(json.contains("\"is_well\": false"), "{json}");
    assert!(json.contains("\"kind\": \"degraded\""), "{json}");
}

/// An operator asks one replica and hears how the others are, by their own word.
#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_each_replica_says_of_itself() {
    let cluster = Cluster::three().await;
    cluster.user("ada").await;
    let asked = (cluster.settled(3).await + 1) % 3;
    let id = asked.to_string();
    let said = eventually("all have spoken", || async {
        let (json, _) = cluster.program(&["status", "--json", "--id", &id]).await;
        let clocks = json.matches("\"clock_ahead_ms\": null").count();
        let silent = json.matches("\"program\": \"\"").count();
        // A disk is measured beside the serving, and may be known a moment after the rest.
        let disks = !json.contains("\"disk_total_bytes\": 0");
        // The one that is asked has nothing to compare its own clock with.
        (clocks == 1 && silent == 0 && disks).then_some(json)
    })
    .await;
    assert!(!said.contains("\"kind\": \"clock\""), "{said}");
    eventually("all show one state", || async {
        let (json, _) = cluster.program(&["status", "--json", "--id", &id]).await;
        let hashes: std::collections::BTreeSet<_> = json
            .lines()
            .filter(|line| line.contains("state_hash"))
            .collect();
        (hashes.len() == 1).then_some(())
    })
    .await;
}

#[test]
fn the_configuration_in_force_is_printed_with_where_it_is_from() {
    let cluster = Cluster::new(&Setup::default());
    let print = |flags: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(["config", "print"])
            .arg(cluster.file())
            .args(flags)
            .env("CHAT_LIMITS__BODY_BYTES", "1000")
            .env("CHAT_CLUSTER__SUSPECT_AFTER", "4s")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    };
    let printed = print(&["--set", "cluster.suspect_after=5s"]);
    for line in [
        "body_bytes = 1000 # CHAT_LIMITS__BODY_BYTES",
        "suspect_after = \"5s\" # --set",
        "hash_passes = 1 # file",
        "log_keep = 10000 # default",
    ] {
        assert!(printed.contains(line), "{line} in\n{printed}");
    }
    let mistake = print(&["--set", "limits.body_bytes=none"]);
    assert!(mistake.contains("--set limits.body_bytes: "), "{mistake}");
}
