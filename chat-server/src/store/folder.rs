//! The format of a data folder: the number in its file `format`, and how a folder of an older one is brought up to date.
//!
//! Each of the files has a number of its own beside that. This one counts what concerns all of them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chat_replication::disk_store::{DiskStore, LOG_FOLDER};
use chat_replication::types::ClusterId;
use thiserror::Error;
use tracing::info;

use crate::store::state::STATE_FILE;

/// The format that this version writes, and the newest that it reads.
pub(crate) const CURRENT: u32 = 1;

/// Where a backup is unpacked. There only while that is under way.
pub(crate) const RESTORING: &str = "restoring";

/// Holds the number.
const FILE: &str = "format";

/// What this version does to folders of older formats. There is none yet.
const STEPS: &[Step] = &[];

/// Brings a folder from one format to the next. It may find what an earlier attempt has left, but for the files that the
/// old format had: those are as they were.
#[derive(Clone, Copy)]
struct Step {
    from: u32,
    run: fn(&Path) -> io::Result<()>,
}

/// Why a data folder is not used. The message says what to do.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It was written by a newer version.
    #[error(
        "{} was written by a newer version (format {found}, this version reads up to {CURRENT}); install that version again, \
         or restore a backup from before into an empty folder; if no newer version ever ran here, its file {FILE} is damaged: \
         write the number {CURRENT} into it",
        path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is of a format that was given up.
    #[error(
        "{} has format {found}, which this version does not know how to bring up to date; use a version in between first; if no \
         other version ever ran here, its file {FILE} is damaged: write the number {CURRENT} into it",
        path.display()
    )]
    TooOld {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A backup was being restored into it.
    #[error("a backup was being restored into {} and is not all there; empty the folder, then restore it again", path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// It was there before the cluster was restored from a backup.
    #[error(
        "{} is of cluster {found}, and the cluster file is of incarnation {wanted}, which began when a backup was restored: \
         nothing from before is taken in. Move the folder away and start the replica with an empty one; or, if this is the \
         restored folder, write incarnation = \"{found}\" into the [cluster] table of the cluster file",
        path.display()
    )]
    FromBefore {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it was to be.
        wanted: ClusterId,
    },
    /// It belongs to another cluster, which may be this one after a restore.
    #[error(
        "{} is of cluster {found}, and the cluster file is of {wanted}. If the cluster was restored from a backup, write \
         incarnation = \"{found}\" into the [cluster] table of the cluster file, on every machine; else point the replica at its \
         own data folder",
        path.display()
    )]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it was to be.
        wanted: ClusterId,
    },
    /// The log is missing, and what stands beside it is not.
    #[error(
        "{} holds {found}, and its log is missing: what was acknowledged may stand there alone, so that no new log is begun. \
         Put it back; or move the folder away and start the replica with an empty one, which takes everything from the \
         other replicas; if those are lost as well, restore a backup",
        path.display()
    )]
    NoLog {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The number cannot be read.
    #[error("{} is damaged: it holds no number; write the number {CURRENT} into it if this version wrote the folder", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be read or written: {reason}; check the disk and who may use it", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl FolderError {
    fn io(path: &Path, error: &io::Error) -> FolderError {
        FolderError::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// Makes a folder ready to be used by this version, and creates it where there is none. Nobody else may be using it.
///
/// # Errors
///
/// It is not for this version. Nothing was changed then.
pub(crate) fn prepare(folder: &Path) -> Result<(), FolderError> {
    let io = |error: io::Error| FolderError::io(folder, &error);
    fs::create_dir_all(folder).map_err(io)?;
    match check(folder)? {
        Some(CURRENT) => Ok(()),
        // The number came after the first folders, which are otherwise the same.
        None => mark(folder).map_err(io),
        Some(older) => upgrade(folder, older, STEPS),
    }
}

/// The format of a folder, if it says so and is not a newer one.
///
/// # Errors
///
/// It is not for this version.
pub(crate) fn check(folder: &Path) -> Result<Option<u32>, FolderError> {
    if folder.join(RESTORING).exists() {
        return Err(FolderError::Unfinished {
            path: folder.to_owned(),
        });
    }
    no_log_missing(folder)?;
    let path = folder.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(FolderError::Damaged { path });
        }
        Err(error) => return Err(FolderError::io(&path, &error)),
    };
    match text.trim().parse() {
        Ok(found) if found > CURRENT => Err(FolderError::Newer {
            path: folder.to_owned(),
            found,
        }),
        Ok(found) => Ok(Some(found)),
        Err(_) => Err(FolderError::Damaged { path }),
    }
}

/// Whoever has lost its log alone must not begin another one: with two empty disks beside it that would be a new cluster.
fn no_log_missing(folder: &Path) -> Result<(), FolderError> {
    if DiskStore::is_in(folder) {
        return Ok(());
    }
    // A process may have died while it began a log, before there was anything in it.
    let is_segment = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|it| it == "log"))
    };
    let segments = match fs::read_dir(folder.join(LOG_FOLDER)) {
        Ok(entries) => entries.map(is_segment).filter(|is| *is).count(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(FolderError::io(&folder.join(LOG_FOLDER), &error)),
    };
    let found = match (folder.join(STATE_FILE).exists(), segments) {
        (false, 0) => return Ok(()),
        (true, 0) => format!("a state ({STATE_FILE})"),
        (false, _) => format!("parts of a log ({LOG_FOLDER})"),
        (true, _) => format!("a state ({STATE_FILE}) and parts of a log ({LOG_FOLDER})"),
    };
    Err(FolderError::NoLog {
        path: folder.to_owned(),
        found,
    })
}

/// Writes the number of this version's format, durably.
pub(crate) fn mark(folder: &Path) -> io::Result<()> {
    write_number(folder, CURRENT)
}

fn write_number(folder: &Path, number: u32) -> io::Result<()> {
    let unfinished = folder.join(format!("{FILE}.new"));
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{number}")?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

/// Copies the files, takes the steps, and writes the number down last. After an attempt that did not come to its end, the
/// files are first brought back from the copy.
fn upgrade(folder: &Path, found: u32, steps: &[Step]) -> Result<(), FolderError> {
    let io = |error: io::Error| FolderError::io(folder, &error);
    let path: Vec<&Step> = (found..CURRENT)
        .filter_map(|from| steps.iter().find(|step| step.from == from))
        .collect();
    if path.len() as u32 != CURRENT - found {
        return Err(FolderError::TooOld {
            path: folder.to_owned(),
            found,
        });
    }
    let copy = folder.join(format!("before-format-{CURRENT}"));
    if copy.exists() {
        copy_files(&copy, folder).map_err(io)?;
    } else {
        let unfinished = folder.join(format!("before-format-{CURRENT}.new"));
        fs::create_dir_all(&unfinished).map_err(io)?;
        copy_files(folder, &unfinished).map_err(io)?;
        fs::rename(&unfinished, &copy).map_err(io)?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(io)?;
    }
    for step in path {
        (step.run)(folder).map_err(io)?;
    }
    write_number(folder, CURRENT).map_err(io)?;
    info!(
        "{} was brought from format {found} to {CURRENT}; what it was is in {}, which can be deleted",
        folder.display(),
        copy.display()
    );
    Ok(())
}

/// Copies the files of a folder and the segments of its log, durably; neither sockets nor other folders within it.
fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.file_name() == LOG_FOLDER {
            fs::create_dir_all(&copied)?;
            copy_files(&entry.path(), &copied)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), &copied)?;
            File::open(&copied)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn read(folder: &TempDir, name: &str) -> String {
        fs::read_to_string(folder.path().join(name)).unwrap()
    }

    fn write(folder: &TempDir, name: &str, text: &str) {
        fs::write(folder.path().join(name), text).unwrap();
    }

    #[test]
    fn a_new_folder_gets_the_number_and_is_used_again() {
        let folder = folder();
        let inside = folder.path().join("a/b");
        prepare(&inside).unwrap();
        assert_eq!(fs::read_to_string(inside.join(FILE)).unwrap(), "1\n");
        prepare(&inside).unwrap();
    }

    #[test]
    fn a_newer_folder_is_refused_and_left_alone() {
        let folder = folder();
        write(&folder, FILE, "2\n");
        let words = prepare(folder.path()).unwrap_err().to_string();
        for part in ["newer version (format 2", "install that version again"] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(read(&folder, FILE), "2\n");
        for damaged in [b"two".as_slice(), b"\xb1\n"] {
            fs::write(folder.path().join(FILE), damaged).unwrap();
            let words = prepare(folder.path()).unwrap_err().to_string();
            assert!(words.contains("holds no number"), "{words}");
        }
    }

    #[test]
    fn a_folder_with_half_a_backup_is_refused() {
        let folder = folder();
        fs::create_dir(folder.path().join(RESTORING)).unwrap();
        let words = prepare(folder.path()).unwrap_err().to_string();
        assert!(words.contains("empty the folder"), "{words}");
    }

    #[test]
    fn a_folder_that_has_lost_its_log_is_refused_and_left_alone() {
        let folder = folder();
        write(&folder, STATE_FILE, "");
        let words = prepare(folder.path()).unwrap_err().to_string();
        assert!(
            words.contains("holds a state (state.redb), and its log is missing"),
            "{words}"
        );
        fs::remove_file(folder.path().join(STATE_FILE)).unwrap();
        // Nothing was ever written there.
        fs::create_dir(folder.path().join(LOG_FOLDER)).unwrap();
        prepare(folder.path()).unwrap();
        write(&folder, "log/manifest.new", "");
        prepare(folder.path()).unwrap();
        write(&folder, "log/1.log", "");
        let words = prepare(folder.path()).unwrap_err().to_string();
        assert!(words.contains("parts of a log (log)"), "{words}");
        write(&folder, "log/manifest.b", "");
        prepare(folder.path()).unwrap();
    }

    #[test]
    fn a_format_that_no_step_leads_from_is_refused() {
        let folder = folder();
        write(&folder, FILE, "0");
        let words = prepare(folder.path()).unwrap_err().to_string();
        assert!(words.contains("a version in between"), "{words}");
        assert_eq!(read(&folder, FILE), "0");
    }

    /// A step whose first attempt fails half-way, as a crash would.
    fn fails_once(folder: &Path) -> io::Result<()> {
        let file = folder.join("data");
        let text = fs::read_to_string(&file)?;
        assert_eq!(
            text, "old",
            "a step begins with the files of the old format"
        );
        fs::write(&file, "half")?;
        if !folder.join("tried").exists() {
            fs::write(folder.join("tried"), "")?;
            return Err(io::Error::other("the power went"));
        }
        fs::write(&file, "new")
    }

    #[test]
    fn an_upgrade_copies_first_and_can_be_interrupted() {
        let folder = folder();
        write(&folder, FILE, "0");
        write(&folder, "data", "old");
        let steps = [Step {
            from: 0,
            run: fails_once,
        }];
        upgrade(folder.path(), 0, &steps).unwrap_err();
        assert_eq!(read(&folder, FILE), "0");
        assert_eq!(read(&folder, "before-format-1/data"), "old");
        upgrade(folder.path(), 0, &steps).unwrap();
        assert_eq!(
            (read(&folder, FILE).as_str(), read(&folder, "data").as_str()),
            ("1\n", "new")
        );
        assert_eq!(read(&folder, "before-format-1/data"), "old");
        assert_eq!(check(folder.path()).unwrap(), Some(CURRENT));
    }
}
