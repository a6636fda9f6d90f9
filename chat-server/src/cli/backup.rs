//! `chat-server backup` and `chat-server restore`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chat_replication::types::{Mode, ReplicaId};
use indicatif::{HumanBytes, ProgressBar};
use tempfile::NamedTempFile;

use super::admin::{load, reach, told};
use super::args::{RestoreArgs, Through};
use super::output::{complain, say};
use super::{Problem, progress};
use crate::config::{line, write_incarnation};
use crate::ops::admin::proto::BackupRequest;
use crate::ops::condition::named;
use crate::store::backup::{self, Reader, Restored, Target};
use crate::store::inspect::{counts, date};

pub(super) async fn take(file: &Path, anyway: bool, through: &Through) -> Result<(), Problem> {
    let mut operator = reach(through).await?;
    if file.exists() {
        return Err(exists(file));
    }
    let folder = folder_of(file);
    if file == Path::new("-") {
        return Err(
            "a backup is read back before it counts, so that it takes a file: name one".to_owned(),
        );
    }
    if !folder.is_dir() {
        return Err(format!(
            "there is no folder {}; make it, or choose another one",
            folder.display()
        ));
    }
    let unwritable = |error: std::io::Error| {
        format!(
            "{} cannot be written: {error}; make room, or choose another folder",
            file.display()
        )
    };
    // Only its owner may read it, as it holds what people wrote. It goes with this process, unless it gets its name.
    let mut unfinished = tempfile::Builder::new()
        .prefix(".backup-")
        .tempfile_in(&folder)
        .map_err(unwritable)?;
    let request = BackupRequest {
        without_leader: anyway,
    };
    let mut pieces = operator.backup(request).await.map_err(told)?.into_inner();
    let bar = progress::of_rows();
    let mut written = 0;
    while let Some(piece) = pieces.message().await.map_err(told)? {
        unfinished.write_all(&piece.bytes).map_err(unwritable)?;
        written += piece.bytes.len() as u64;
        bar.set_length(piece.rows);
        bar.set_position(piece.rows_read);
        bar.set_message(HumanBytes(written).to_string());
        for warning in piece.warnings {
            bar.suspend(|| complain(format!("warning: {warning}")));
        }
    }
    bar.finish_and_clear();
    keep(unfinished, file, &bar)?;
    let head = Reader::open(file)
        .map_err(|error| error.to_string())?
        .head()
        .clone();
    say(format!(
        "{}: {} of cluster {} as it was at {}, at {}; check it now and then with `chat-server verify {}`",
        file.display(),
        HumanBytes(written),
        head.cluster,
        date(head.taken_at),
        head.position,
        file.display()
    ));
    Ok(())
}

/// Reads the file back, and gives it its name once it is durable.
fn keep(unfinished: NamedTempFile, file: &Path, bar: &ProgressBar) -> Result<(), Problem> {
    let lost = |error: std::io::Error| format!("{} cannot be written: {error}", file.display());
    unfinished.as_file().sync_all().map_err(lost)?;
    backup::whole(unfinished.path(), |_| bar.tick()).map_err(|error| error.to_string())?;
    unfinished
        .persist_noclobber(file)
        .map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(file),
            _ => lost(error.error),
        })?;
    // Until its folder is flushed, the name may be lost.
    File::open(folder_of(file))
        .and_then(|folder| folder.sync_all())
        .map_err(lost)
}

fn exists(file: &Path) -> Problem {
    format!(
        "{} is there already, and a backup takes the place of nothing; choose another name",
        file.display()
    )
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

pub(super) fn restore(args: &RestoreArgs) -> Result<(), Problem> {
    let cluster = args
        .config
        .as_deref()
        .map(|file| load(file, args.id))
        .transpose()?;
    let replica = match (args.id, &cluster, &args.data_dir) {
        (Some(id), ..) => Some(ReplicaId(id)),
        (None, Some(_), None) => {
            let reader = Reader::open(&args.file).map_err(|error| error.to_string())?;
            Some(reader.head().replica)
        }
        _ => None,
    };
    let folder = match (&args.data_dir, &cluster, replica) {
        (Some(folder), ..) => folder.clone(),
        (None, Some(cluster), Some(id)) => match cluster.replica(id) {
            Some(replica) => replica.data_dir.clone(),
            None => {
                return Err(format!(
                    "the cluster file has no replica {id}; choose one that it has with --id"
                ));
            }
        },
        _ => return Err("where to? Name the data folder with --data-dir".to_owned()),
    };
    let target = Target {
        folder,
        replica,
        cluster,
    };
    let bar = progress::of_bytes(2 * progress::len(&args.file));
    let restored = backup::restore(&args.file, &target, |read| bar.set_position(read));
    bar.finish_and_clear();
    let restored = restored.map_err(|error| error.to_string())?;
    let named = args
        .config
        .as_deref()
        .map(|file| (file, write_incarnation(file, restored.incarnation)));
    say(next(&restored, &target, named));
    Ok(())
}

/// What was done, and what is to be done. `named` is what became of the cluster file, if there is one.
fn next(restored: &Restored, target: &Target, named_in: Option<(&Path, io::Result<()>)>) -> String {
    let head = &restored.head;
    let id = restored.replica;
    let mut lines = vec![
        format!(
            "{} is the data folder of replica {id}, with cluster {} as it was at {}",
            target.folder.display(),
            head.cluster,
            date(head.taken_at)
        ),
        counts(&restored.census),
    ];
    let line = line(restored.incarnation);
    lines.push(match named_in {
        Some((file, Ok(()))) => format!(
            "1. {} has a new line, {line}. Copy the file, or the line, to the other machines: no data folder from before is \
             taken in.",
            file.display()
        ),
        Some((file, Err(error))) => format!(
            "1. Write {line} below the id in the table [cluster] of {}, which cannot be changed from here ({error}), and of the \
             cluster files on the other machines: no data folder from before is taken in.",
            file.display()
        ),
        None => format!(
            "1. Write {line} below the id in the table [cluster] of the cluster file, on every machine: no data folder from \
             before is taken in."
        ),
    });
    lines.push(format!(
        "2. Start replica {id}. Nothing of the cluster as it was before may run any more."
    ));
    match (restored.others.as_slice(), head.configuration.mode) {
        ([], _) => {}
        (others, Mode::Available) => {
            let ids: Vec<_> = others.iter().map(|other| other.id).collect();
            lines.push(format!(
                "3. Start {} with an empty data folder each. The state comes to them by itself.",
                named(&ids)
            ));
        }
        (others, Mode::Consistent) => {
            lines.push(
                "3. Start the others with empty data folders, and add one after the other:"
                    .to_owned(),
            );
            lines.extend(others.iter().map(|other| {
                format!(
                    "   chat-server replica add {} --peer {} --client {} --data-dir {}",
                    other.id,
                    other.peer_address,
                    other.client_address,
                    target.folder.display()
                )
            }));
        }
    }
    lines.join("\n")
}
