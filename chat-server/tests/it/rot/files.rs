//! Flips on the files alone: what would be served after a start, and what `verify` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chat_replication::disk_store::DiskStore;
use chat_replication::state_machine::StateMachine;
use chat_replication::store::{Durable, Store, StoreError};
use chat_server::store::inspect::{Replay, verify};
use chat_server::store::state::{ChatStateMachine, StateError, StateSettings};
use tempfile::TempDir;

use super::{Flip, copy, files_in, tell};

const PIECE: usize = 4 << 20;

/// What comes of a start over some files.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Start {
    /// It does not get that far.
    Refused(String),
    /// Something is known to be damaged, and taken from peers.
    Damaged(String),
    Serves(Box<Served>),
}

/// What would be served once all of the log is applied.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Served {
    log: Durable,
    hash: String,
    /// Rows that contradict others.
    flaws: u64,
    messages: u64,
}

/// What went wrong, a line for each.
pub(super) fn try_all(name: &str, folder: &Path, flips: &[Flip]) -> Vec<String> {
    let work = TempDir::new().unwrap();
    let whole = attempt(folder, work.path(), None);
    let Start::Serves(expected) = &whole.start else {
        panic!("the {name} folder is not whole: {whole:?}");
    };
    assert_eq!(whole.verified, Ok(()), "{name}");
    let mut wrong = Vec::new();
    let mut outcomes: BTreeMap<(PathBuf, &str), u64> = BTreeMap::new();
    for flip in flips {
        let found = attempt(folder, work.path(), Some(flip));
        let problems = judge(&found, expected, &whole.segments);
        let outcome = match (&found.start, problems.is_empty()) {
            (_, false) => "WRONG",
            (Start::Refused(_), _) => "refused",
            (Start::Damaged(_), _) => "damage known",
            (Start::Serves(_), _) if found.verified.is_err() => "served; verify sees it",
            (Start::Serves(_), _) => "served",
        };
        *outcomes.entry((flip.file.clone(), outcome)).or_default() += 1;
        wrong.extend(
            problems
                .into_iter()
                .map(|problem| format!("{name} {flip:?}: {problem}")),
        );
    }
    for ((file, outcome), times) in outcomes {
        tell(&format!("{name} {}: {times} {outcome}", file.display()));
    }
    wrong
}

#[derive(Debug)]
struct Attempt {
    start: Start,
    verified: Result<(), String>,
    segments: Vec<PathBuf>,
}

fn attempt(folder: &Path, work: &Path, flip: Option<&Flip>) -> Attempt {
    let place = work.join("folder");
    let _ = fs::remove_dir_all(&place);
    copy(folder, &place);
    if let Some(flip) = flip {
        flip.apply(&place);
    }
    let verified = verify(&place, Replay::No, |_| {}).map_err(|error| error.to_string());
    let start = start(&place);
    let segments = files_in(&place)
        .into_iter()
        .filter(|file| file.parent() != Some(Path::new("")))
        .collect();
    Attempt {
        start,
        verified,
        segments,
    }
}

fn start(folder: &Path) -> Start {
    match try_to_start(folder) {
        Ok(served) => Start::Serves(Box::new(served)),
        Err(start) => start,
    }
}

fn of_log(error: StoreError) -> Start {
    Start::Refused(error.to_string())
}

fn of_state(error: StateError) -> Start {
    match error {
        StateError::Damaged { .. } => Start::Damaged(error.to_string()),
        error => Start::Refused(error.to_string()),
    }
}

/// Opens the files, applies what the state does not show, and reads every row.
fn try_to_start(folder: &Path) -> Result<Served, Start> {
    let mut store = DiskStore::open_existing(folder).map_err(of_log)?;
    let log = store.load().map_err(of_log)?;
    let me = log.identity;
    let settings = StateSettings::default();
    let opened = ChatStateMachine::open(folder, me.cluster, me.replica, settings, Box::new(|_| {}));
    let mut machine = opened.map_err(of_state)?;
    if log.has_lost(machine.durable()) {
        return Err(Start::Refused("the log ends before its state".to_owned()));
    }
    let last = log.branches.last_index();
    while machine.applied().index < last {
        let next = machine.applied().index + 1;
        let entries = store.entries(next, last, PIECE).map_err(of_log)?;
        machine.apply(&entries).map_err(of_state)?;
        machine.maintain().map_err(of_state)?;
    }
    let read = machine.reader().query(|manager, _| {
        let hash = manager.recompute_state_hash()?;
        Ok((hash.to_string(), manager.check()?))
    });
    let (hash, census) = read.map_err(of_state)?;
    if !log.damaged.is_empty() {
        return Err(Start::Damaged(format!(
            "entries {:?} are damaged",
            log.damaged
        )));
    }
    Ok(Served {
        log,
        hash,
        flaws: census.flaws_found,
        messages: census.messages,
    })
}

fn judge(found: &Attempt, expected: &Served, segments: &[PathBuf]) -> Vec<String> {
    let mut problems = Vec::new();
    match &found.start {
        Start::Serves(served) if **served != *expected => {
            let (log, whole) = (&served.log, &expected.log);
            problems.push(format!(
                "{} messages at {} (promised {}, compacted {}, {} orphans, {} epochs), hash {}, {} flaws, instead of {} at {} \
                 (promised {}, compacted {}, {} orphans, {} epochs)",
                served.messages,
                log.branches.last(),
                log.promised,
                log.compacted,
                log.orphans,
                log.branches.epochs().len(),
                served.hash,
                served.flaws,
                expected.messages,
                whole.branches.last(),
                whole.promised,
                whole.compacted,
                whole.orphans,
                whole.branches.epochs().len(),
            ));
        }
        Start::Serves(_) => {}
        Start::Refused(words) | Start::Damaged(words) => {
            if found.verified.is_ok() {
                problems.push(format!("verify does not see that {words}"));
            }
        }
    }
    if let Err(words) = &found.verified
        && !says_what_to_do(words)
    {
        problems.push(format!("verify does not say what to do: {words}"));
    }
    for segment in segments {
        if !found.segments.contains(segment) {
            problems.push(format!("the start removed {}", segment.display()));
        }
    }
    problems
}

pub(super) fn says_what_to_do(words: &str) -> bool {
    let remedies = [
        "move ",
        "Move ",
        "start ",
        "Start ",
        "restore ",
        "write the number",
        "install ",
        "empty ",
        "put ",
        "wait",
    ];
    remedies.iter().any(|remedy| words.contains(remedy))
}
