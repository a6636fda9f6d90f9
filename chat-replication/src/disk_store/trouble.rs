//! Why a log cannot be used, or a part of it.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::store::StoreError;
use crate::types::{ClusterId, Index};

/// A [`StoreError`] before it is known which log it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The system refused a read, a write or a flush.
    Io(String),
    /// What the files hold does not fit together.
    Damaged(String),
    /// Only these entries cannot be read.
    Entries(RangeInclusive<Index>, String),
    /// The log is another replica's, or another version's.
    Foreign(String),
    /// The log is of one cluster, and another one's was asked for.
    OtherCluster(ClusterId, ClusterId),
}

impl Trouble {
    /// The error of the log in a folder.
    pub(super) fn of(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Trouble::Io(reason) => StoreError::Io { path, reason },
            Trouble::Damaged(reason) => StoreError::Damaged { path, reason },
            Trouble::Entries(entries, reason) => StoreError::DamagedEntries {
                path,
                entries,
                reason,
            },
            Trouble::Foreign(reason) => StoreError::Foreign { path, reason },
            Trouble::OtherCluster(found, wanted) => StoreError::OtherCluster {
                path,
                found,
                wanted,
            },
        }
    }

    /// The same, of one file of the log.
    pub(super) fn in_file(self, name: &str) -> Trouble {
        let named = |reason| format!("{name}: {reason}");
        match self {
            Trouble::Io(reason) => Trouble::Io(named(reason)),
            Trouble::Damaged(reason) => Trouble::Damaged(named(reason)),
            Trouble::Entries(entries, reason) => Trouble::Entries(entries, named(reason)),
            other @ (Trouble::Foreign(_) | Trouble::OtherCluster(..)) => other,
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Trouble::Damaged("it ends too early".to_owned()),
            _ => Trouble::Io(error.to_string()),
        }
    }
}
