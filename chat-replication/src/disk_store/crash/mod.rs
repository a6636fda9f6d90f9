//! Disks in memory that can lose power.

mod disk;
mod folder;

pub use self::disk::{CrashDisk, Fate};
pub use self::folder::CrashFolder;
