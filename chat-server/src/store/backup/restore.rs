//! A cluster made from a backup: the first replica of it, on a disk of its own.
//!
//! The cluster keeps its name, its accounts and its history, and begins anew behind the backup with one replica. It is
//! another cluster nevertheless, under an incarnation of its own that its data folders and the greetings of its replicas
//! bear: a disk from before can neither vote nor bring back what came after the backup, whichever disk it is and whenever
//! it was made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use chat_core::{APPLY_VERSION, Census};
use chat_replication::disk_store::{DiskStore, LOG_FOLDER};
use chat_replication::state_machine::{InstallError, StateMachine};
use chat_replication::store::{Persist, Reset, Store};
use chat_replication::types::{
    ClusterId, Configuration, Epoch, Member, Mode, Position, ReplicaId, StoreUuid, ViewStart,
};
use uuid::Uuid;

use super::{BackupError, Head, Reader};
use crate::config::ClusterConfig;
use crate::store::folder;
use crate::store::state::{ChatStateMachine, STATE_FILE, StateSettings};

/// How many epochs are left free for views that the old cluster had after the backup, so that clients which have seen one of
/// those are told of another history and not of an earlier place in theirs.
const EPOCHS: u64 = 1 << 20;

/// Where a backup goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The data folder: absent or empty.
    pub folder: PathBuf,
    /// The replica that it is the folder of; by default the one that the backup was taken from.
    pub replica: Option<ReplicaId>,
    /// The cluster, and where its replicas are reached; as it was when the backup was taken, if this is absent.
    pub cluster: Option<ClusterConfig>,
}

/// What became of a backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The backup.
    pub head: Head,
    /// The replica.
    pub replica: ReplicaId,
    /// What tells the cluster from the one before. Belongs into the cluster file, on every machine, before a replica starts.
    pub incarnation: ClusterId,
    /// The other replicas of the cluster file, or else of the backup, in id order.
    pub others: Vec<Member>,
    /// What is stored.
    pub census: Census,
}

/// Makes the data folder of a cluster's first replica from a backup. `progress` hears how many bytes of the file have been
/// read, of twice its length: it is read once to check it, and once more.
///
/// # Errors
///
/// The backup is damaged or not for this cluster, or there is something in the folder. Nothing is left behind then.
pub fn restore(
    file: &Path,
    target: &Target,
    mut progress: impl FnMut(u64),
) -> Result<Restored, BackupError> {
    let checked = whole(file, &mut progress)?;
    let mut reader = Reader::open(file)?;
    let plan = Plan::new(reader.head(), target, file)?;
    let made = make_empty(&target.folder)?;
    let inside = target.folder.join(folder::RESTORING);
    let restored = fill(&mut reader, &inside, &plan, |read| progress(checked + read))
        .and_then(|census| move_in(&inside, &target.folder).map(|()| census));
    match restored {
        Ok(census) => Ok(Restored {
            head: reader.head().clone(),
            replica: plan.replica,
            incarnation: plan.incarnation,
            others: plan.others,
            census,
        }),
        Err(error) => {
            // Should this fail as well, the folder says so at the next start.
            let _ = fs::remove_dir_all(&inside);
            if made == Made::Now {
                let _ = fs::remove_dir(&target.folder);
            }
            Err(error)
        }
    }
}

/// Reads a backup from first to last, and says how many bytes it has.
///
/// # Errors
///
/// It is not whole.
pub(crate) fn whole(file: &Path, mut progress: impl FnMut(u64)) -> Result<u64, BackupError> {
    let mut reader = Reader::open(file)?;
    while reader.next_piece()?.is_some() {
        progress(reader.bytes_read());
    }
    Ok(reader.bytes_read())
}

/// The state of a backup, in files of a folder that bear this name of the cluster, and what is stored in it.
///
/// # Errors
///
/// The backup is not whole, or its rows contradict each other.
pub(crate) fn build(
    reader: &mut Reader,
    folder: &Path,
    (cluster, replica): (ClusterId, ReplicaId),
    reset: &Reset,
    mut progress: impl FnMut(u64),
) -> Result<(ChatStateMachine, Census), BackupError> {
    let (file, head) = (reader.path().to_owned(), reader.head().clone());
    let settings = StateSettings::default();
    let mut machine = ChatStateMachine::open(folder, cluster, replica, settings, Box::new(|_| {}))?;
    let unreadable = |error| match error {
        InstallError::Unreadable(reason) => BackupError::damaged(&file, reason),
        InstallError::Failed(error) => BackupError::State(error),
    };
    machine.begin_install(reset)?;
    while let Some(piece) = reader.next_piece()? {
        machine.install_chunk(&piece).map_err(unreadable)?;
        progress(reader.bytes_read());
    }
    machine.finish_install().map_err(unreadable)?;
    if machine.state_hash() != head.state_hash {
        return Err(BackupError::damaged(
            &file,
            "its state is not that of its head",
        ));
    }
    let (of_rows, census) = machine
        .reader()
        .view(|manager, _| Ok((manager.recompute_state_hash()?, manager.check()?)))?;
    if of_rows.as_u128() != head.state_hash {
        return Err(BackupError::damaged(
            &file,
            "its hash is not that of its rows",
        ));
    }
    if let Some(first) = census.flaws.first() {
        return Err(BackupError::damaged(
            &file,
            format!(
                "{} rows contradict others, first: {first}",
                census.flaws_found
            ),
        ));
    }
    Ok((machine, census))
}

/// How the cluster begins anew.
struct Plan {
    replica: ReplicaId,
    incarnation: ClusterId,
    others: Vec<Member>,
    configuration: Configuration,
    head: Head,
}

impl Plan {
    fn new(head: &Head, target: &Target, file: &Path) -> Result<Plan, BackupError> {
        if let Some(cluster) = &target.cluster
            && cluster.id != head.cluster
        {
            return Err(BackupError::foreign(
                file,
                format!(
                    "is of cluster {}, and the cluster file is of {}; name that cluster's file, or put the backup's id \
                     into a new one",
                    head.cluster, cluster.id
                ),
            ));
        }
        let replica = target.replica.unwrap_or(head.replica);
        let members = match &target.cluster {
            Some(cluster) => cluster
                .replicas
                .iter()
                .map(|one| Member {
                    id: one.id,
                    store: StoreUuid::default(),
                    peer_address: one.peer_address.to_string(),
                    client_address: one.client_address.to_string(),
                })
                .collect(),
            None => head.configuration.members.clone(),
        };
        let (me, others): (Vec<Member>, Vec<Member>) =
            members.into_iter().partition(|member| member.id == replica);
        let Some(me) = me.into_iter().next() else {
            return Err(BackupError::foreign(
                file,
                format!(
                    "knows no replica {replica}; choose another one with --id, or say with --config where that one is reached"
                ),
            ));
        };
        // Disks of before are of another cluster, which need not be told that they were removed.
        let mut configuration = Configuration {
            members: vec![me],
            mode: head.configuration.mode,
            removed: Vec::new(),
            ..Configuration::default()
        };
        if configuration.mode == Mode::Available {
            // One replica is enough. Whichever disks come for the others take the places that are kept for them.
            for other in &others {
                configuration = configuration.with(Member {
                    store: StoreUuid(Uuid::new_v4()),
                    ..other.clone()
                });
            }
        }
        Ok(Plan {
            replica,
            incarnation: ClusterId(Uuid::new_v4()),
            others,
            configuration,
            head: head.clone(),
        })
    }

    /// The log behind the backup: the history as it was, and a view of this disk alone.
    fn log(&self, store: StoreUuid) -> Reset {
        let mut configuration = self.configuration.clone();
        for member in &mut configuration.members {
            if member.id == self.replica {
                member.store = store;
            }
        }
        let newest = self.head.position.epoch;
        let begin = Position {
            epoch: Epoch {
                number: newest.number + EPOCHS,
                replica: self.replica,
                store,
            },
            index: self.head.position.index + 1,
        };
        let mut branches = self.head.branches.clone();
        branches.append(begin);
        Reset {
            branches,
            newest: (
                begin.index,
                ViewStart {
                    members: vec![self.replica],
                    configuration,
                    forced: false,
                    apply_version: APPLY_VERSION,
                },
            ),
        }
    }
}

/// Makes a replica's files.
fn fill(
    reader: &mut Reader,
    inside: &Path,
    plan: &Plan,
    progress: impl FnMut(u64),
) -> Result<Census, BackupError> {
    fs::create_dir(inside).map_err(|error| BackupError::io(inside, &error))?;
    let owner = (plan.incarnation, plan.replica);
    let mut store = DiskStore::open(inside, plan.incarnation, plan.replica)?;
    let reset = plan.log(store.identity().store);
    let (mut machine, census) = build(reader, inside, owner, &reset, progress)?;
    store.persist(&Persist {
        promised: Some(reset.branches.last().epoch),
        reset: Some(reset),
        ..Persist::default()
    })?;
    machine.settle_install()?;
    Ok(census)
}

/// Whether the folder was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Made {
    Before,
    Now,
}

fn make_empty(folder: &Path) -> Result<Made, BackupError> {
    let io = |error: io::Error| BackupError::io(folder, &error);
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                // What a file system puts into its root.
                if entry.map_err(io)?.file_name() != "lost+found" {
                    return Err(BackupError::NotEmpty {
                        path: folder.to_owned(),
                    });
                }
            }
            Ok(Made::Before)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(io)?;
            Ok(Made::Now)
        }
        Err(error) => Err(io(error)),
    }
}

/// Gives the files their places. Until the last one has it, no replica starts in the folder.
fn move_in(inside: &Path, folder: &Path) -> Result<(), BackupError> {
    let io = |error: io::Error| BackupError::io(folder, &error);
    for name in [STATE_FILE, LOG_FOLDER] {
        let file = inside.join(name);
        File::open(&file)
            .and_then(|file| file.sync_all())
            .map_err(io)?;
        fs::rename(&file, folder.join(name)).map_err(io)?;
    }
    folder::mark(folder).map_err(io)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io)?;
    fs::remove_dir_all(inside).map_err(io)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}
