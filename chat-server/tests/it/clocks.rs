//! Machines whose clocks are not set.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Cluster, Setup, eventually};

/// A machine's clock for one process: the C library's own, and so many seconds more. How long things take is as ever.
const LIBRARY: &str = r"
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += AHEAD;
    return result;
}
";

/// A library that a process is loaded with in order to have a clock of its own. `None`, with a line that says why, where
/// there is no C compiler.
fn clock_ahead_by(seconds: i64, cluster: &Cluster) -> Option<PathBuf> {
    let source = cluster.folder().join("clock.c");
    let library = cluster.folder().join("clock.so");
    fs::write(&source, LIBRARY).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", &format!("-DAHEAD=({seconds})")])
        .arg(&source)
        .arg("-o")
        .arg(&library)
        .status();
    match compiled {
        Ok(status) if status.success() => Some(library),
        problem => {
            skipped(&format!("{problem:?}"));
            None
        }
    }
}

#[allow(clippy::print_stdout)]
fn skipped(problem: &str) {
    println!("SKIPPED: no C compiler makes a library here: {problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_names_the_replica_whose_clock_is_off() {
    let mut cluster = Cluster::new(&Setup::default());
    let Some(library) = clock_ahead_by(-630, &cluster) else {
        return;
    };
    for id in [0, 2] {
        cluster.launch(id);
    }
    let mut late = cluster.command(1);
    late.env("LD_PRELOAD", &library);
    cluster.launch_by(1, late, &[]);
    cluster.settled(3).await;
    let what = "WRONG: the clock of replica 1 is 10 min behind those of the others";
    let what_with_two = "is 10 min ahead of that of replica 1";
    // The one whose clock is off knows it as well.
    for asked in ["0", "1", "2"] {
        let said = eventually("all replicas have heard of it", async || {
            let (said, _) = cluster.program(&["status", "--id", asked]).await;
            // It has heard of one of the others so far.
            (said.contains("WRONG: the clock") && !said.contains(what_with_two)).then_some(said)
        })
        .await;
        assert!(said.contains(what), "{said}");
        assert!(said.contains("DO: set the clock of that machine"), "{said}");
        assert_eq!(said.matches("WRONG: the clock").count(), 1, "{said}");
    }

    // With a clock that is right it is well again.
    cluster.stop(1);
    cluster.launch(1);
    cluster.settled(3).await;
    for asked in ["0", "1", "2"] {
        eventually("nobody tells of it any more", async || {
            let (said, _) = cluster.program(&["status", "--id", asked]).await;
            (!said.contains("WRONG: the clock")).then_some(())
        })
        .await;
    }
}
