//! The API as another language sees it: the Python example, with the leader killed in the middle.
//!
//! `CHAT_PYTHON` names a Python that has grpcio and grpcio-tools. Without it they are installed from PyPI into a folder of
//! the build directory; where that is impossible, the test says that it was skipped.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where something does not hold, and tells where it did nothing"
)]

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use examples::{LocalCluster, in_view};
use tempfile::TempDir;

const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/python/two_users.py"
);

#[tokio::test]
async fn two_users_in_python_survive_the_leaders_death() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            println!(
                "SKIPPED: {why}; set CHAT_PYTHON to a Python that has grpcio and grpcio-tools"
            );
            return;
        }
    };
    let dir = TempDir::new().unwrap();
    let program = env!("CARGO_BIN_EXE_test-chat-server");
    let mut cluster = LocalCluster::create(program, dir.path(), 3).unwrap();
    cluster.start_all().unwrap();
    let leader = in_view(&cluster, &[0, 1, 2]).await.unwrap().replica_id;

    let mut example = Command::new(python)
        .arg(EXAMPLE)
        .args(cluster.endpoints())
        .args(["--messages", "30", "--pause", "0.1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(example.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("sent message 9,") {
            cluster.kill(leader).unwrap();
        }
        told.push(line);
    }
    let mut complaint = String::new();
    let mut errors = example.stderr.take().unwrap();
    errors.read_to_string(&mut complaint).unwrap();
    let told = told.join("\n");
    assert!(
        example.wait().unwrap().success(),
        "{told}\n{complaint}\n{}",
        cluster.log(leader)
    );
    assert!(told.contains("stored on 3 of 3"), "{told}");
    assert!(told.contains("stored on 2 of 3"), "{told}");
    assert!(
        told.contains("all 30 messages were received and are in the history, each once"),
        "{told}"
    );
}

/// A Python that has what the example needs.
fn python() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("CHAT_PYTHON") {
        let named = PathBuf::from(named);
        return match has_grpc(&named) {
            true => Ok(named),
            false => panic!(
                "CHAT_PYTHON is {}, which lacks grpcio or grpcio-tools",
                named.display()
            ),
        };
    }
    let usual = PathBuf::from(if cfg!(windows) { "python" } else { "python3" });
    if has_grpc(&usual) {
        return Ok(usual);
    }
    // Kept between runs.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-grpc");
    let python = match cfg!(windows) {
        true => folder.join("Scripts/python.exe"),
        false => folder.join("bin/python"),
    };
    if !has_grpc(&python) {
        let venv = ["-m".into(), "venv".into(), folder.into_os_string()];
        run(&usual, &venv)?;
        let pip = ["-m", "pip", "install", "--quiet", "grpcio", "grpcio-tools"];
        run(&python, &pip.map(OsString::from))?;
    }
    match has_grpc(&python) {
        true => Ok(python),
        false => Err("grpcio-tools cannot be used here".into()),
    }
}

fn has_grpc(python: &Path) -> bool {
    run(
        python,
        &["-c", "import grpc, grpc_tools.protoc"].map(OsString::from),
    )
    .is_ok()
}

fn run(program: &Path, arguments: &[OsString]) -> Result<(), String> {
    let ran = Command::new(program).args(arguments).output();
    let program = program.display();
    match ran {
        Ok(ran) if ran.status.success() => Ok(()),
        Ok(ran) => {
            let why = String::from_utf8_lossy(&ran.stderr);
            Err(format!("{program} says: {}", why.trim()))
        }
        Err(error) => Err(format!("{program} cannot be run: {error}")),
    }
}
