//! `chat-server init`: everything that a new cluster needs, ready to be copied to its machines.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chat_replication::types::{ClusterId, ReplicaId};
use time::Duration;
use uuid::Uuid;

use super::Problem;
use super::args::InitArgs;
use super::output::say;
use crate::config::{ClusterConfig, Layout, Place, ReplicaConfig, secured};
use crate::tls::{Authority, Issued};

const FILE: &str = "cluster.toml";
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";

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
    names.extend(places.iter().map(|place| name(ReplicaId(place.id))));
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
    let (authority, kept) = Authority::establish(cluster).map_err(|error| error.to_string())?;

    fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    write_secret(&folder.join(CA_KEY), &kept.key)?;
    write(&folder.join(CA), &kept.certificate, 0o644)?;
    for replica in &config.replicas {
        issue(folder, &authority, cluster, replica, args.days)?;
    }
    // Last, so that what has a cluster file is complete.
    write(&folder.join(FILE), &text, 0o644)?;
    tell(folder, &config);
    Ok(())
}

/// A new certificate for a replica of a cluster that there is.
fn renew(args: &InitArgs, id: ReplicaId) -> Result<(), Problem> {
    let folder = &args.dir;
    let config = ClusterConfig::load(&folder.join(FILE)).map_err(|error| error.to_string())?;
    let replica = config.replica(id).ok_or_else(|| {
        format!("the cluster file has no replica {id}; add a [[replica]] table for it first")
    })?;
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| {
            format!(
                "{}: {error}; go where `chat-server init` was run, which has the authority's key",
                path.display()
            )
        })
    };
    let kept = Issued {
        certificate: read(CA)?,
        key: read(CA_KEY)?,
    };
    let authority = Authority::from_pem(&kept).map_err(|error| error.to_string())?;
    issue(folder, &authority, config.id, replica, args.days)?;
    let path = folder.join(name(id));
    say(format!(
        "{path} has a new certificate and key for {days} days. Copy both to replica {id}, which takes them within half a \
         minute, or at once at SIGHUP; no restart is needed.",
        path = path.display(),
        days = args.days
    ));
    Ok(())
}

fn issue(
    folder: &Path,
    authority: &Authority,
    cluster: ClusterId,
    replica: &ReplicaConfig,
    days: u32,
) -> Result<(), Problem> {
    // The machine's own people may use its own name for it.
    let hosts: BTreeSet<&str> = [
        replica.client_address.host(),
        replica.peer_address.host(),
        "localhost",
        "127.0.0.1",
        "::1",
    ]
    .into();
    let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
    let issued = authority
        .issue(cluster, replica.id, &hosts, Duration::days(days.into()))
        .map_err(|error| error.to_string())?;
    let own = folder.join(name(replica.id));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&own)
        .map_err(|error| cannot_write(&own, &error))?;
    write_secret(&own.join(KEY), &issued.key)?;
    write(&own.join(CERT), &issued.certificate, 0o644)
}

fn tell(folder: &Path, config: &ClusterConfig) {
    say(format!(
        "{} has everything for cluster {} of {} replicas.\n",
        folder.display(),
        config.id,
        config.replicas.len()
    ));
    for replica in &config.replicas {
        say(format!(
            "  replica {id} ({host}): copy {FILE}, {CA} and {name}/ into one folder there, and run\n    \
             chat-server run --config {FILE} --id {id}",
            id = replica.id,
            host = replica.client_address.host(),
            name = name(replica.id).display()
        ));
    }
    let servers: Vec<String> = config
        .replicas
        .iter()
        .map(|replica| format!("https://{}", replica.client_address))
        .collect();
    say(format!(
        "  clients: give them {CA}, and\n    chat-client --ca {CA} --server {}\n\n\
         {CA_KEY} makes certificates, and so makes replicas: keep it here, and copy it nowhere.",
        servers.join(",")
    ));
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

fn name(replica: ReplicaId) -> PathBuf {
    PathBuf::from(format!("replica-{replica}"))
}

/// A file that nobody else may read, from its first byte on.
fn write_secret(path: &Path, text: &str) -> Result<(), Problem> {
    write(path, text, 0o600)
}

/// All of it or nothing, in the place of what was there.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Problem> {
    let new = path.with_extension("new");
    let written = fs::remove_file(&new)
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&new)
        })
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    format!("cannot write {}: {error}", path.display())
}
