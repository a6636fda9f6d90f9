//! The log on disk: entries in files that are only appended to, and a manifest of everything else.
//!
//! The folder `log` holds both:
//!
//! | file | what |
//! |---|---|
//! | `manifest.a`, `manifest.b` | the manifest, twice: whose log it is, the promise, the epochs, view starts, orphans, and which segments count how far |
//! | `*.log` | the segments: the entries. They do not repeat their epoch, the manifest tells it |
//!
//! A batch that only appends within an epoch, as nearly all do, is one write and one flush of a segment. Any other is a
//! transaction of the manifest, which names the segment that it began. Opening reads the manifest and the newest segment, and
//! no other; entries are dropped by removing files.
//!
//! # What a disk may do
//!
//! *Lose power*: what was not flushed is there wholly, in part or not at all. *Outlive a process*: one that is killed leaves
//! what it wrote where the next one reads it, flushed or not; so opening flushes everything that it read, before anything
//! of it is told. *Rot*: each byte has a checksum over it. What the manifest loses in one of its files is in the other. Entries that
//! rotted are told ([`Durable::damaged`], [`StoreError::DamagedEntries`]) and can be mended. Everything else is an error at
//! the opening, as is a log whose parts are of different times: it never goes back to an earlier one by itself.

mod checked;
mod crash;
pub mod file;
mod folder;
mod frame;
mod inspect;
mod manifest;
mod payload;
mod segments;
mod trouble;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use self::crash::{CrashDisk, CrashFolder, Fate};
use self::file::{Fault, lock};
use self::folder::DiskFolder;
pub use self::folder::{LogFile, LogFolder};
use self::manifest::{Change, Manifest, Opened, too_old};
#[cfg(fuzzing)]
pub use self::payload::fuzz_entry;
use self::segments::{Origin, Segment, Segments};
use self::trouble::Trouble;
use crate::branch::BranchTable;
use crate::store::{
    Durable, Identity, Persist, Persisted, Piece, Store, StoreError, branches_after, check_range,
    compacted_after,
};
use crate::types::{ClusterId, Entry, Index, Orphan, Payload, Position, ReplicaId};

/// Name of the folder of the log within the data folder.
pub const LOG_FOLDER: &str = "log";

/// The files of the manifest within the log's folder.
pub const MANIFEST_FILES: [&str; 2] = manifest::FILES;

/// Holds the log of formats that are not read any more.
const OLD_FILE: &str = "log.redb";

/// A [`Store`] on disk.
#[derive(Debug)]
pub struct DiskStore {
    folder: Box<dyn LogFolder>,
    manifest: Manifest,
    segments: Segments,
    branches: BranchTable,
    path: PathBuf,
    was_whole: bool,
    /// Why nothing is read or written any more: after a failed write nobody knows what is on the disk.
    failed: Option<String>,
    _lock: Option<File>,
}

impl DiskStore {
    /// Opens the log in a data folder. Folder and files are created where there is no trace of a log, with a store uuid drawn
    /// at random.
    pub fn open(
        folder: &Path,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<DiskStore, StoreError> {
        let path = folder.join(LOG_FOLDER);
        let told = |trouble: Trouble| trouble.of(&path);
        fs::create_dir_all(folder).map_err(|error| told(error.into()))?;
        sync_parent(folder).map_err(|error| told(error.into()))?;
        let lock = lock(&path).map_err(|fault| match fault {
            Fault::InUse => StoreError::InUse { path: path.clone() },
            Fault::Io(reason) | Fault::Damaged(reason) => told(Trouble::Io(reason)),
        })?;
        if !path.exists()
            && let Some(old) = old_format(folder)
        {
            return Err(told(old));
        }
        let inside = DiskFolder::new(path.clone()).map_err(|error| told(error.into()))?;
        DiskStore::check(Box::new(inside), &path, Some(lock), cluster, replica)
    }

    /// The same in a folder of the caller's, which `label` names in messages.
    pub fn open_in(
        folder: impl LogFolder + 'static,
        label: &str,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<DiskStore, StoreError> {
        DiskStore::check(Box::new(folder), Path::new(label), None, cluster, replica)
    }

    /// Makes the manifest as short as what it says allows. A process that is killed meanwhile loses nothing.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        self.check_failed()?;
        let compacted = self.manifest.rewrite(&*self.folder);
        compacted.map_err(|trouble| self.fail(trouble))
    }

    /// Whether the opening found the manifest twice and whole. If not, it was made whole again from what was left.
    pub fn was_whole(&self) -> bool {
        self.was_whole
    }

    /// Whose store this is.
    pub fn identity(&self) -> Identity {
        self.manifest.identity()
    }

    fn check(
        folder: Box<dyn LogFolder>,
        path: &Path,
        lock: Option<File>,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<DiskStore, StoreError> {
        let open = || {
            let Opened {
                manifest,
                was_whole,
            } = Manifest::open(&*folder, cluster, replica)?;
            let contents = manifest.contents();
            check_segments(contents.compacted, contents.segments.values())?;
            let origin = Origin {
                store: manifest.made_as(),
                sequence: manifest.sequence(),
                was_whole,
            };
            let list = contents.segments.values().cloned().collect();
            let segments = Segments::open(&*folder, origin, list)?;
            let last = segments.last().unwrap_or(contents.compacted);
            let branches = BranchTable::from_parts(contents.epochs.clone(), last);
            let mut branches =
                branches.ok_or_else(|| contradiction("its epochs do not fit its entries"))?;
            branches.note_drop(contents.dropped);
            check_view_starts(&manifest, &branches)?;
            Ok((manifest, segments, branches, was_whole))
        };
        let (manifest, segments, branches, was_whole) =
            open().map_err(|trouble: Trouble| trouble.of(path))?;
        Ok(DiskStore {
            folder,
            manifest,
            segments,
            branches,
            path: path.to_owned(),
            was_whole,
            failed: None,
            _lock: lock,
        })
    }

    /// Nothing is read or written after an operation that failed.
    fn check_failed(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(reason) => Err(Trouble::Io(reason.clone()).of(&self.path)),
            None => Ok(()),
        }
    }

    /// Nothing is read or written from now on, unless only entries are damaged.
    fn fail(&mut self, trouble: Trouble) -> StoreError {
        if !matches!(trouble, Trouble::Entries(..)) {
            self.failed
                .get_or_insert_with(|| "an earlier write failed".to_owned());
        }
        trouble.of(&self.path)
    }

    fn compacted(&self) -> Index {
        self.manifest.contents().compacted
    }

    fn orphan_count(&self) -> u64 {
        self.manifest.contents().orphans.len() as u64
    }

    fn write(
        &mut self,
        batch: &Persist,
        branches: &BranchTable,
        compacted: Index,
    ) -> Result<(), Trouble> {
        if !batch.mend.is_empty() {
            self.mend(&batch.mend)?;
        }
        let promised = batch.promised.unwrap_or(self.manifest.contents().promised);
        let promises = promised != self.manifest.contents().promised;
        let sequence = self.manifest.sequence();
        if !promises && only_appends(batch) && self.segments.append(&batch.append, sequence)? {
            return Ok(());
        }
        // Read before anything is written: what is damaged of it fails the batch and nothing else.
        let cut = match batch.truncate {
            Some(keep) => self.cut(keep, batch.give_up)?,
            None => Vec::new(),
        };
        let next = self
            .segments
            .prepare(&*self.folder, batch, compacted, sequence)?;
        let mut change = self.change(branches, &next.list);
        change.promised = promised;
        change.compacted = compacted;
        change.store = batch.rename.unwrap_or(change.store);
        change.forgotten.clone_from(&batch.forget);
        if let Some(keep) = batch.truncate {
            change.starts_dropped = keep.saturating_add(1);
        }
        if let Some(reset) = &batch.reset {
            change.starts_dropped = 0;
            change.starts.push(reset.newest.clone());
        }
        for entry in &batch.append {
            if let Payload::ViewStart(start) = &entry.payload {
                change.starts.push((entry.position.index, start.clone()));
            }
        }
        self.manifest.commit(&*self.folder, &change, &cut)?;
        let sequence = self.manifest.sequence();
        self.segments.commit(&*self.folder, next, sequence)
    }

    /// Lets entries take the place of damaged ones.
    fn mend(&mut self, entries: &[Entry]) -> Result<(), Trouble> {
        let sequence = self.manifest.sequence();
        let next = self
            .segments
            .prepare_mend(&*self.folder, entries, sequence)?;
        let Some(next) = next else {
            return Ok(());
        };
        let change = self.change(&self.branches, &next.list);
        self.manifest.commit(&*self.folder, &change, &[])?;
        let sequence = self.manifest.sequence();
        self.segments.commit(&*self.folder, next, sequence)
    }

    /// What makes the manifest say that the log has these branches and segments.
    fn change(&self, branches: &BranchTable, segments: &[Segment]) -> Change {
        let contents = self.manifest.contents();
        let same = contents.epochs.iter().zip(branches.epochs());
        let shared = same.take_while(|(old, new)| old == new).count();
        let stays = |old: &&Segment| Segment::at(segments, old.first).is_some();
        let dropped = contents.segments.values().filter(|old| !stays(old));
        let comes = |new: &&Segment| contents.segments.get(&new.first) != Some(new);
        Change {
            store: contents.store,
            promised: contents.promised,
            compacted: contents.compacted,
            dropped: branches.dropped(),
            epochs_kept: shared as u64,
            epochs: branches.epochs()[shared..].to_vec(),
            starts_dropped: Index::MAX,
            starts: Vec::new(),
            segments_dropped: dropped.map(|segment| segment.first).collect(),
            segments: segments.iter().filter(comes).cloned().collect(),
            forgotten: Vec::new(),
        }
    }

    /// The commands behind an index, without those that are damaged, if they are given up; and the orphans that were to be
    /// proposed again in the log that is cut, since their branches and the log that wins have no more in common than that.
    fn cut(&self, keep: Index, give_up: bool) -> Result<Vec<Orphan>, Trouble> {
        let mut cut = BTreeMap::new();
        for mut orphan in self.manifest.orphans_behind(keep)? {
            orphan.lineage.cut(&self.branches, keep);
            cut.insert(orphan.origin, orphan);
        }
        let last = self.branches.last_index();
        let mut next = keep.max(self.compacted()) + 1;
        while next <= last {
            let visited = self.visit(next, last, |entry| {
                let orphan = entry.orphaned(&self.branches, keep);
                cut.extend(orphan.map(|orphan| (orphan.origin, orphan)));
                true
            });
            next = match visited {
                Err(Trouble::Entries(damaged, _)) if give_up => next.max(*damaged.end()) + 1,
                visited => {
                    visited?;
                    break;
                }
            };
        }
        Ok(cut.into_values().collect())
    }

    /// Visits entries for as long as `take` wants more. All of them must be there.
    fn visit(
        &self,
        from: Index,
        through: Index,
        mut take: impl FnMut(Entry) -> bool,
    ) -> Result<(), Trouble> {
        let mut next = from;
        let mut wanted = true;
        self.segments
            .read(&*self.folder, from, through, |index, payload| {
                if index != next {
                    return Err(missing(next));
                }
                let position = self.branches.position_at(index);
                let position = position.ok_or_else(|| missing(index))?;
                next = index + 1;
                wanted = take(Entry { position, payload });
                Ok(wanted)
            })?;
        match wanted && next <= through {
            true => Err(missing(next)),
            false => Ok(()),
        }
    }

    /// Notes how far the newest segment goes, so that whatever befalls its end from now on is told.
    fn note_end(&mut self) -> Result<(), Trouble> {
        let segments = self.segments.named();
        let change = self.change(&self.branches, &segments);
        if self.failed.is_some() || change.segments.is_empty() {
            return Ok(());
        }
        self.manifest.commit(&*self.folder, &change, &[])?;
        self.segments.mark(self.manifest.sequence())
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // Without it the end is found as after a crash.
        let _ = self.note_end();
    }
}

impl Store for DiskStore {
    fn load(&mut self) -> Result<Durable, StoreError> {
        self.check_failed()?;
        let contents = self.manifest.contents();
        let begins =
            |(_, first): &(_, Index)| Some((*first, contents.view_starts.get(first)?.clone()));
        let compacted = self.branches.position_at(contents.compacted);
        let damaged = self.segments.damaged().into_iter();
        let damaged =
            damaged.map(|range| *range.start().max(&(contents.compacted + 1))..=*range.end());
        Ok(Durable {
            identity: self.manifest.identity(),
            promised: contents.promised,
            branches: self.branches.clone(),
            compacted: compacted.unwrap_or_default(),
            view_starts: contents.epochs.iter().filter_map(begins).collect(),
            orphans: self.orphan_count(),
            damaged: damaged.filter(|range| !range.is_empty()).collect(),
        })
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        self.check_failed()?;
        if !batch.is_empty() {
            let promised = batch.promised.unwrap_or_default();
            assert!(
                batch.promised.is_none() || promised >= self.manifest.contents().promised,
                "promises only grow"
            );
            let branches = branches_after(&self.branches, batch);
            let compacted = compacted_after(self.compacted(), batch, &branches);
            let written = self.write(batch, &branches, compacted);
            written.map_err(|trouble| self.fail(trouble))?;
            self.branches = branches;
        }
        Ok(Persisted {
            orphans: self.orphan_count(),
        })
    }

    fn entries(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        check_range(from, through, self.compacted(), &self.branches)?;
        self.check_failed()?;
        let mut entries = Vec::new();
        let mut piece = Piece::new(max_bytes);
        let visited = self.visit(from, through, |entry| {
            let fits = piece.takes(entry.payload.len());
            if fits {
                entries.push(entry);
            }
            fits
        });
        match visited {
            Err(Trouble::Entries(..)) if !entries.is_empty() => Ok(entries),
            Err(trouble) => Err(trouble.of(&self.path)),
            Ok(()) => Ok(entries),
        }
    }

    fn bytes_behind(&self, index: Index) -> Result<u64, StoreError> {
        self.check_failed()?;
        let bytes = self.segments.bytes_behind(&*self.folder, index);
        bytes.map_err(|trouble| trouble.of(&self.path))
    }

    fn orphans(
        &self,
        after: Option<Position>,
        max_bytes: usize,
    ) -> Result<Vec<Orphan>, StoreError> {
        self.check_failed()?;
        let orphans = self.manifest.orphans(after, max_bytes);
        orphans.map_err(|trouble| trouble.of(&self.path))
    }
}

/// Whether a batch does nothing but append within the newest epoch, and perhaps promise or mend.
fn only_appends(batch: &Persist) -> bool {
    let Persist {
        mend: _,
        give_up: _,
        promised: _,
        truncate: None,
        reset: None,
        append,
        forget,
        compact: None,
        dropped: None,
        forget_epochs: None,
        rename: None,
    } = batch
    else {
        return false;
    };
    let begins = |entry: &Entry| matches!(entry.payload, Payload::ViewStart(_));
    !append.is_empty() && forget.is_empty() && !append.iter().any(begins)
}

/// Whether segments follow each other from where the log begins.
fn check_segments<'a>(
    compacted: Index,
    segments: impl Iterator<Item = &'a Segment>,
) -> Result<(), Trouble> {
    let mut before: Option<&Segment> = None;
    for segment in segments {
        let follows = match before {
            Some(before) => before.sealed && before.through + 1 == segment.first,
            None => (1..=compacted + 1).contains(&segment.first),
        };
        if !follows || segment.through < segment.first || segment.through <= compacted {
            return Err(contradiction(
                "its files of entries do not follow each other",
            ));
        }
        before = Some(segment);
    }
    Ok(())
}

/// Whether the view starts are there that must be, and nothing is newer than the promise.
fn check_view_starts(manifest: &Manifest, branches: &BranchTable) -> Result<(), Trouble> {
    let contents = manifest.contents();
    let lacks = |first: &Index| !contents.view_starts.contains_key(first);
    let newest = branches.epochs().last().map(|(_, first)| *first);
    let behind = branches.epochs().iter().map(|(_, first)| *first);
    let behind = behind.filter(|first| *first > contents.compacted);
    if let Some(first) = behind.chain(newest).find(lacks) {
        return Err(contradiction(&format!("no view start stands at {first}")));
    }
    if branches.last().epoch > contents.promised {
        return Err(contradiction("its entries are newer than its promise"));
    }
    if contents.compacted > branches.last_index() {
        return Err(contradiction("it ends before it begins"));
    }
    Ok(())
}

fn contradiction(reason: &str) -> Trouble {
    Trouble::Damaged(reason.to_owned())
}

fn missing(index: Index) -> Trouble {
    Trouble::Damaged(format!("the entry at {index} is missing"))
}

/// What is wrong with a data folder that has a log of an older format.
fn old_format(folder: &Path) -> Option<Trouble> {
    folder.join(OLD_FILE).exists().then(|| too_old(3))
}

/// Makes the name of the data folder durable: whoever made it may have died before that.
fn sync_parent(folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.canonicalize()?.parent().map(Path::to_owned) else {
        return Ok(());
    };
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    match synced {
        // It is somebody else's, who made the folder.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}
