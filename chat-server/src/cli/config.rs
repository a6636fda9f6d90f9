//! `chat-server config`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use chat_replication::types::ClusterId;
use uuid::Uuid;

use super::Problem;
use super::args::ConfigCommand;
use super::output::say;
use crate::config::{ClusterConfig, Layout, template};

pub(super) fn run(command: &ConfigCommand) -> Result<(), Problem> {
    match command {
        ConfigCommand::New {
            out,
            replicas,
            base_port,
            mode,
        } => {
            let layout = Layout {
                replicas: *replicas,
                base_port: *base_port,
                mode: (*mode).into(),
            };
            let text = new(layout)?;
            match out {
                Some(path) => {
                    write_new(path, &text)?;
                    say(format!("{} is written", path.display()));
                }
                None => say(text.trim_end()),
            }
        }
        ConfigCommand::Check { file } => {
            let config = ClusterConfig::load(file).map_err(|error| error.to_string())?;
            say(format!(
                "{} describes cluster {} of {} replicas",
                file.display(),
                config.id,
                config.replicas.len()
            ));
        }
    }
    Ok(())
}

/// The text of a file for a new cluster.
pub(super) fn new(layout: Layout) -> Result<String, Problem> {
    match layout.problem() {
        Some(problem) => Err(problem),
        None => Ok(template(ClusterId(Uuid::new_v4()), layout)),
    }
}

/// Writes a file that is not there yet: the id of a cluster that has data must not be lost.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), Problem> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!(
                "{} is there already; choose another name, or move it away",
                path.display()
            )
        }
        _ => format!("cannot write {}: {error}", path.display()),
    })
}
