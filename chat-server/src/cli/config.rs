//! `chat-server config`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use chat_replication::types::{ClusterId, ReplicaId};
use uuid::Uuid;

use super::Problem;
use super::args::ConfigCommand;
use super::output::say;
use crate::config::{ClusterConfig, Layout, Overrides, template};

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
        ConfigCommand::Check(args) => {
            let layers = overrides(&args.layers.settings)?;
            let config = ClusterConfig::load_with(&args.file, &layers, args.id.map(ReplicaId))
                .map_err(|error| error.to_string())?;
            known(&config, args.id)?;
            let file = &args.file;
            say(format!(
                "{} describes cluster {} of {} replicas",
                file.display(),
                config.id,
                config.replicas.len()
            ));
        }
        ConfigCommand::Print(args) => {
            let layers = overrides(&args.layers.settings)?;
            let me = args.id.map(ReplicaId);
            let config = ClusterConfig::load_with(&args.file, &layers, me)
                .map_err(|error| error.to_string())?;
            known(&config, args.id)?;
            let printed = ClusterConfig::print(&args.file, &layers, me);
            say(printed.map_err(|error| error.to_string())?);
        }
    }
    Ok(())
}

/// A replica that is asked for must be one of the file's.
fn known(config: &ClusterConfig, id: Option<u32>) -> Result<(), Problem> {
    match id.map(ReplicaId) {
        Some(id) if config.replica(id).is_none() => Err(format!(
            "the cluster file has no replica {id}; leave --id out, or name one that it has"
        )),
        _ => Ok(()),
    }
}

/// What the environment and the command line say instead of the file.
pub(super) fn overrides(settings: &[String]) -> Result<Overrides, Problem> {
    // Names and values that are no text are none of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Overrides::new(environment, settings).map_err(|error| error.to_string())
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
