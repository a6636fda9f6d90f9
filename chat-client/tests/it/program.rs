//! The program as a process, with a folder of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::fake::Cluster;

/// A user of the program: somebody with a session file and a few addresses.
pub(crate) struct User {
    folder: tempfile::TempDir,
    servers: String,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl User {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self::at(&cluster.addresses().join(","))
    }

    pub(crate) fn at(servers: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            servers: servers.into(),
        }
    }

    /// A user who is registered and logged in.
    pub(crate) fn logged_in(cluster: &Cluster, name: &str) -> Self {
        let user = Self::of(cluster);
        user.run_with(&["register", name, "--password-stdin"], "password\n")
            .expect_code(0);
        user.run_with(&["login", name, "--password-stdin"], "password\n")
            .expect_code(0);
        cluster.forget();
        user
    }

    pub(crate) fn session_file(&self) -> PathBuf {
        self.folder.path().join("state/session.toml")
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chat-client"));
        command
            .args(args)
            .env_clear()
            .env("CHAT_SERVERS", &self.servers)
            .env("CHAT_SESSION", self.session_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        self.finish(self.command(args), input)
    }

    pub(crate) fn finish(&self, mut command: Command, input: &str) -> Ran {
        let mut child = command.spawn().unwrap();
        // A program that does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().expect("an exit, not a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // A thread of its own, so that a line that never comes fails the test instead of stopping it.
        std::thread::spawn(move || {
            output
                .lines()
                .try_for_each(|line| sender.send(line.unwrap()))
        });
        Running {
            input: child.stdin.take(),
            child,
            lines,
            seen: Vec::new(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }
}

impl Running {
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Reads on until a line holds the text, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(20)) else {
                panic!("no line with {text:?} came; these did: {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Ends the input; returns the exit code and the lines that were not read yet.
    pub(crate) fn finish(mut self) -> (i32, Vec<String>) {
        drop(self.input.take());
        let rest = self.lines.iter().collect();
        (
            self.child
                .wait()
                .unwrap()
                .code()
                .expect("an exit, not a signal"),
            rest,
        )
    }

    /// Lines read so far.
    pub(crate) fn seen(&self) -> &[String] {
        &self.seen
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
