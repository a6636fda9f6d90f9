//! `chat-server init`: everything that a new cluster needs, ready to be copied to its machines.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use chat_replication::types::{ClusterId, ReplicaId};
use uuid::Uuid;

use super::Problem;
use super::args::InitArgs;
use super::output::say;
use crate::config::{ClusterConfig, Layout, Place, ReplicaConfig, secured};
use crate::edge::tls::{Folder, TlsError, write_public};

const FILE: &str = "cluster.toml";
const CA: &str = Folder::CA;
const CA_KEY: &str = Folder::CA_KEY;

pub(super) fn run(args: &InitArgs) -> Result<(), Problem> {
    match args.renew {
        Some(replica) => renew(args, ReplicaId(replica)),
        None => begin(args),
    }
}

/// A new cluster.
fn begin(args: &InitArgs) -> Result<(), Problem> {
    let places = places(&args.replica)?;
    let layout = Layout {
        replicas: places.iter().map(|place| place.id + 1).max().unwrap_or(1),
        base_port: args.base_port,
        mode: args.mode.into(),
    };
    if let Some(problem) = layout.problem() {
        return Err(problem);
    }
    let folder = &args.dir;
    let mut names: Vec<PathBuf> = [FILE, CA, CA_KEY].map(PathBuf::from).to_vec();
    names.extend(places.iter().map(|place| Folder::name(ReplicaId(place.id))));
    if let Some(there) = names
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.exists())
    {
        return Err(format!(
            "{} is there already, and belongs to a cluster that may have data; choose another folder, or move it away",
            there.display()
        ));
    }
    let cluster = ClusterId(Uuid::new_v4());
    let text = secured(cluster, layout.mode, layout.base_port, &places);
    let config =
        ClusterConfig::parse(&text, &folder.join(FILE)).map_err(|error| error.to_string())?;
    make(folder, &config, &text, args.days).map_err(|error| error.to_string())?;
    tell(folder, &config);
    Ok(())
}

fn make(folder: &Path, config: &ClusterConfig, text: &str, days: u32) -> Result<(), TlsError> {
    let certificates = Folder(folder);
    let authority = certificates.establish(config.id)?;
    for replica in &config.replicas {
        certificates.issue(&authority, config.id, replica, days)?;
    }
    // Last, so that what has a cluster file is complete.
    write_public(&folder.join(FILE), text)
}

/// A new certificate for a replica of a cluster that there is.
fn renew(args: &InitArgs, id: ReplicaId) -> Result<(), Problem> {
    let folder = &args.dir;
    let config = ClusterConfig::load(&folder.join(FILE)).map_err(|error| error.to_string())?;
    let replica = config.replica(id).ok_or_else(|| {
        format!("the cluster file has no replica {id}; add a [[replica]] table for it first")
    })?;
    let certificates = Folder(folder);
    certificates
        .authority()
        .and_then(|authority| certificates.issue(&authority, config.id, replica, args.days))
        .map_err(|error| error.to_string())?;
    let path = folder.join(Folder::name(id));
    say(format!(
        "{path} has a new certificate and key for {days} days. Copy both to replica {id}, which takes them within half a \
         minute, or at once at SIGHUP; no restart is needed.",
        path = path.display(),
        days = args.days
    ));
    Ok(())
}

fn tell(folder: &Path, config: &ClusterConfig) {
    say(format!(
        "{} has everything for cluster {} of {} replicas.\n",
        folder.display(),
        config.id,
        config.replicas.len()
    ));
    match config.replicas.iter().all(is_here) {
        true => tell_here(folder, config),
        false => tell_elsewhere(config),
    }
    say(format!(
        "{CA_KEY} makes certificates, and so makes replicas: keep it here, and copy it nowhere."
    ));
}

fn is_here(replica: &ReplicaConfig) -> bool {
    let address = replica.client_address.host().parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
}

/// For a cluster of this machine alone, which is run where it is.
fn tell_here(folder: &Path, config: &ClusterConfig) {
    let file = folder.join(FILE);
    say("All replicas are on this machine. Run each of them, in a terminal of its own:");
    for replica in &config.replicas {
        say(format!(
            "  chat-server run --config {} --id {}",
            file.display(),
            replica.id
        ));
    }
    say(format!(
        "Then, as a client:\n  chat-client --ca {} --server {}\n",
        folder.join(CA).display(),
        servers(config)
    ));
}

fn tell_elsewhere(config: &ClusterConfig) {
    for replica in &config.replicas {
        say(format!(
            "  replica {id} ({host}): copy {FILE}, {CA} and {name}/ into one folder there, and run\n    \
             chat-server run --config {FILE} --id {id}",
            id = replica.id,
            host = replica.client_address.host(),
            name = Folder::name(replica.id).display()
        ));
    }
    say(format!(
        "  clients: give them {CA}, and run\n    chat-client --ca {CA} --server {}\n",
        servers(config)
    ));
}

fn servers(config: &ClusterConfig) -> String {
    let replicas = config.replicas.iter();
    let addresses: Vec<_> = replicas
        .map(|replica| replica.client_address.to_string())
        .collect();
    addresses.join(",")
}

/// Replicas as they were asked for, else three on this machine.
fn places(given: &[Place]) -> Result<Vec<Place>, Problem> {
    if given.is_empty() {
        let here = |id| Place {
            id,
            host: "127.0.0.1".to_owned(),
        };
        return Ok((0..Layout::default().replicas).map(here).collect());
    }
    let mut ids = BTreeSet::new();
    for place in given {
        if !ids.insert(place.id) {
            return Err(format!(
                "replica {} is named twice; give each its own id",
                place.id
            ));
        }
    }
    Ok(given.to_vec())
}
