//! Whether the files of a replica are whole and fit together.

use std::path::Path;

use chat_core::{Census, Command, Timestamp};
use chat_replication::branch::BranchTable;
use chat_replication::disk_store::{DiskStore, LOG_FOLDER, MANIFEST_FILES};
use chat_replication::state_machine::StateMachine;
use chat_replication::store::{Durable, Reset, Store, StoreError};
use chat_replication::types::{Entry, Index, Payload, Position, ViewStart};
use time::OffsetDateTime;

use super::copy::FolderCopy;
use super::log::{PIECE, first_entry};
use super::{InspectError, describe};
use crate::store::backup::{self, Reader};
use crate::store::state::{ChatStateMachine, STATE_FILE, StateSettings};

/// Whether the state is built anew from the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// Only the files are read.
    No,
    /// It is, in a temporary folder, and compared.
    Yes,
}

/// Checks the files of a replica that does not run, and says what was found, line by line.
///
/// # Errors
///
/// The replica runs, a file is damaged, or the files contradict each other.
pub fn verify(
    folder: &Path,
    replay: Replay,
    mut say: impl FnMut(String),
) -> Result<(), InspectError> {
    let copy = FolderCopy::of(folder)?;
    let mut store = DiskStore::open_existing(copy.path())?;
    let durable = store.load()?;
    if !store.was_whole() {
        say(format!(
            "log: one of {} in {LOG_FOLDER} is damaged; the next start makes it whole again from the other",
            MANIFEST_FILES.join(" and ")
        ));
    }
    // What is wrong with the log says nothing about the state.
    let of_log = log(&store, &durable, folder).map(&mut say);
    let machine = match open(copy.path(), &durable)
        .and_then(|machine| look_at_state(&machine, &durable, folder, &mut say).map(|()| machine))
    {
        Ok(machine) => machine,
        Err(of_state) => {
            return Err(match of_log {
                Ok(()) => of_state,
                Err(of_log) => {
                    say(format!("wrong: {of_state}"));
                    of_log
                }
            });
        }
    };
    of_log?;
    if replay == Replay::No || machine.unsettled().is_some() {
        return Ok(());
    }
    let applied = machine.applied();
    let held = machine.state_hash();
    let is_usable = durable.branches.holds(applied);
    let anew = FolderCopy::empty()?;
    if first_entry(&durable) == 1 {
        let mut fresh = open(anew.path(), &durable)?;
        if is_usable {
            apply(&mut fresh, &store, applied.index)?;
            if fresh.state_hash() != held {
                return Err(InspectError::Mismatch {
                    problem: format!(
                        "the state in {} at {applied} has the hash {held:032x}, and the log makes it {:032x}",
                        folder.join(STATE_FILE).display(),
                        fresh.state_hash()
                    ),
                });
            }
            say(format!(
                "replay: the log makes the state at {applied} what it is, hash {held:032x}"
            ));
        }
        return go_on(fresh, &store, &durable, say);
    }
    if !is_usable {
        return Err(InspectError::Mismatch {
            problem: format!(
                "the state in {} at {applied} is not of the log's history, and the log does not reach back to its beginning",
                folder.join(STATE_FILE).display()
            ),
        });
    }
    say(format!(
        "replay: the entries up to {} are compacted, so that the replay begins at the state of {applied}",
        first_entry(&durable) - 1
    ));
    go_on(machine, &store, &durable, say)
}

fn look_at_state(
    machine: &ChatStateMachine,
    durable: &Durable,
    folder: &Path,
    mut say: impl FnMut(String),
) -> Result<(), InspectError> {
    say(state(machine, durable, folder)?);
    if machine.applied() != Position::default() {
        say(check_rows(machine)?);
    }
    Ok(())
}

/// Checks a backup as a restore would, and says what is in it, line by line.
///
/// # Errors
///
/// It is damaged, or its rows contradict each other.
pub fn verify_backup(
    file: &Path,
    mut say: impl FnMut(String),
    progress: impl FnMut(u64),
) -> Result<(), InspectError> {
    let mut reader = Reader::open(file)?;
    let head = reader.head().clone();
    let members = head.configuration.members.iter().map(|member| member.id);
    say(format!(
        "backup: of cluster {}, taken from replica {} by version {} at {}; replicas {}, {} mode",
        head.cluster,
        head.replica,
        head.program,
        date(head.taken_at),
        describe::ids(members),
        head.configuration.mode
    ));
    let folder = FolderCopy::empty()?;
    let newest = head.branches.epochs().last().map_or(0, |(_, first)| *first);
    // Where the log would begin does not matter to the state.
    let reset = Reset {
        branches: head.branches.clone(),
        newest: (
            newest,
            ViewStart {
                members: Vec::new(),
                configuration: head.configuration.clone(),
                forced: false,
                apply_version: head.apply_version,
            },
        ),
    };
    let (_, census) = backup::build(
        &mut reader,
        folder.path(),
        (head.cluster, head.replica),
        &reset,
        progress,
    )?;
    say(format!(
        "state: at {}, hash {:032x}; whole",
        head.position, head.state_hash
    ));
    say(counts(&census));
    if !head.is_current {
        say(
            "but no leader vouched for the replica that it was taken from: what only others had is missing"
                .to_owned(),
        );
    }
    if head.orphans > 0 {
        say(format!(
            "but {} commands of a lost history were about to be committed again, and are missing",
            head.orphans
        ));
    }
    Ok(())
}

/// Applies what else is in the log.
fn go_on(
    mut machine: ChatStateMachine,
    store: &DiskStore,
    durable: &Durable,
    mut say: impl FnMut(String),
) -> Result<(), InspectError> {
    let last = durable.branches.last();
    apply(&mut machine, store, last.index)?;
    check_hash(&machine)?;
    say(format!(
        "replay: at {last}, the end of the log, the state has the hash {:032x}",
        machine.state_hash()
    ));
    Ok(())
}

fn open(folder: &Path, durable: &Durable) -> Result<ChatStateMachine, InspectError> {
    let me = durable.identity;
    Ok(ChatStateMachine::open(
        folder,
        me.cluster,
        me.replica,
        StateSettings::default(),
        Box::new(|_| {}),
    )?)
}

fn apply(
    machine: &mut ChatStateMachine,
    store: &DiskStore,
    through: Index,
) -> Result<(), InspectError> {
    loop {
        let next = machine.applied().index + 1;
        if next > through {
            return Ok(());
        }
        machine.apply(&store.entries(next, through, PIECE)?)?;
        machine.maintain()?;
    }
}

/// Reads every entry and every orphan, whose checksums are checked by that.
fn log(store: &DiskStore, durable: &Durable, folder: &Path) -> Result<String, InspectError> {
    let last = durable.branches.last().index;
    let first = first_entry(durable);
    let mut next = first;
    let mut unreadable = 0;
    let mut damaged = Vec::new();
    while next <= last {
        let entries = match store.entries(next, last, PIECE) {
            Err(StoreError::DamagedEntries { entries, .. }) => {
                next = entries.end() + 1;
                damaged.push(format!("{} to {}", entries.start(), entries.end()));
                continue;
            }
            entries => entries?,
        };
        for entry in entries {
            check_entry(&entry, next, &durable.branches)?;
            unreadable += match &entry.payload {
                Payload::Command(bytes) | Payload::Reproposed { command: bytes, .. } => {
                    u64::from(Command::decode(bytes).is_err())
                }
                Payload::ViewStart(_) => 0,
            };
            next += 1;
        }
    }
    if !damaged.is_empty() {
        return Err(InspectError::DamagedEntries {
            path: folder.to_owned(),
            entries: damaged.join(", "),
        });
    }
    let mut after = None;
    let mut orphans = 0;
    loop {
        let some = store.orphans(after, PIECE)?;
        let Some(newest) = some.last() else { break };
        after = Some(newest.origin);
        orphans += some.len() as u64;
    }
    if orphans != durable.orphans {
        return Err(InspectError::Mismatch {
            problem: format!(
                "{LOG_FOLDER} has {orphans} orphans, and says that it has {}",
                durable.orphans
            ),
        });
    }
    let me = durable.identity;
    let commands = match unreadable {
        0 => String::new(),
        some => format!(", {some} of which are no commands that this version knows"),
    };
    let entries = match first > last {
        true => format!("no entries behind {last}"),
        false => format!("entries {first} to {last}{commands}"),
    };
    Ok(format!(
        "log: replica {} of cluster {}, {entries}, {} epochs, {orphans} orphans; whole",
        me.replica,
        me.cluster,
        durable.branches.epochs().len()
    ))
}

fn check_entry(entry: &Entry, index: Index, branches: &BranchTable) -> Result<(), InspectError> {
    let mismatch = |problem| Err(InspectError::Mismatch { problem });
    let expected = branches.position_at(index);
    if expected != Some(entry.position) {
        return mismatch(format!(
            "the entry at {index} of {LOG_FOLDER} stands at {}, which its epochs do not say",
            entry.position
        ));
    }
    let begins = branches.epochs().iter().any(|(_, first)| *first == index);
    if begins != matches!(entry.payload, Payload::ViewStart(_)) {
        return mismatch(format!(
            "the entry {} of {LOG_FOLDER} is a view start where no epoch begins, or none where one does",
            entry.position
        ));
    }
    Ok(())
}

/// Reads every row, whose checksums are checked by that.
fn state(
    machine: &ChatStateMachine,
    durable: &Durable,
    folder: &Path,
) -> Result<String, InspectError> {
    let path = folder.join(STATE_FILE);
    let compacted = durable.compacted;
    if !path.exists() {
        return match compacted.index {
            0 => Ok(
                "state: there is none; the replica builds it from its log when it starts"
                    .to_owned(),
            ),
            _ => Err(InspectError::NoState {
                problem: format!("{} is missing", path.display()),
            }),
        };
    }
    check_hash(machine)?;
    let applied = machine.applied();
    let hash = machine.state_hash();
    let branches = &durable.branches;
    if machine.unsettled().is_some() {
        return Ok(format!(
            "state: at {applied}, hash {hash:032x}; whole, a snapshot that has just come in, which the log follows when the \
             replica starts"
        ));
    }
    if durable.has_lost(applied) {
        return Err(InspectError::LogBehind {
            log: branches.last(),
            state: applied,
        });
    }
    if applied.index < compacted.index {
        return Err(InspectError::NoState {
            problem: format!(
                "the state in {} is at {applied}, and the entries up to {compacted} are gone",
                path.display()
            ),
        });
    }
    Ok(match branches.holds(applied) {
        true if applied == Position::default() => {
            "state: no checkpoint yet; the replica builds it from its log when it starts".to_owned()
        }
        true => format!("state: at {applied}, hash {hash:032x}; whole"),
        false if compacted.index == 0 => format!(
            "state: at {applied}, hash {hash:032x}; whole, but not of the log's history, so that the replica builds it anew \
             when it starts"
        ),
        false => format!(
            "state: at {applied}, hash {hash:032x}; whole, but not of the log's history, which does not reach back: the replica \
             takes another one from the leader when it starts"
        ),
    })
}

/// What is stored, in words.
pub(crate) fn counts(census: &Census) -> String {
    format!(
        "rows: {}; {} accounts and {} deleted ones, {} sessions, {} conversations, {} messages of which {} wait to be \
         delivered, {} answered requests",
        census.rows,
        census.accounts,
        census.deleted_accounts,
        census.sessions,
        census.conversations,
        census.messages,
        census.undelivered,
        census.requests
    )
}

/// A moment, to the second.
pub(crate) fn date(moment: Timestamp) -> String {
    let seconds = i64::try_from(moment.as_millis() / 1000).unwrap_or(i64::MAX);
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(moment) => {
            let (date, time) = (moment.date(), moment.time());
            let (hour, minute, second) = time.as_hms();
            format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
        }
        Err(_) => format!("{seconds} s"),
    }
}

/// Rows against the rows that they must agree with.
fn check_rows(machine: &ChatStateMachine) -> Result<String, InspectError> {
    let census = machine.reader().view(|manager, _| manager.check())?;
    if let Some(first) = census.flaws.first() {
        return Err(InspectError::Mismatch {
            problem: format!(
                "the state at {} has {} rows that contradict others: {first}{}",
                machine.applied(),
                census.flaws_found,
                census.flaws[1..]
                    .iter()
                    .map(|flaw| format!("; {flaw}"))
                    .collect::<String>()
            ),
        });
    }
    Ok(counts(&census))
}

/// The hash that was kept up to date against the one of all rows.
fn check_hash(machine: &ChatStateMachine) -> Result<(), InspectError> {
    let (kept, of_rows) = machine
        .reader()
        .view(|manager, _| Ok((manager.state_hash(), manager.recompute_state_hash()?)))?;
    match kept == of_rows {
        true => Ok(()),
        false => Err(InspectError::Mismatch {
            problem: format!(
                "the state at {} has rows of the hash {of_rows}, and says that it is {kept}",
                machine.applied()
            ),
        }),
    }
}
