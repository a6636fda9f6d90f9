//! Room on this replica's disk.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config::Limits;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// The disk that holds a replica's data folder, as it was when it was looked at last.
pub(super) struct Disk {
    folder: PathBuf,
    limits: watch::Receiver<Limits>,
    /// 1 while it is low.
    shown: Gauge,
    last: Mutex<Room>,
}

/// What a disk has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Room {
    /// In bytes; both 0 where the file system does not say.
    pub(super) free: u64,
    pub(super) total: u64,
    /// Whether that is less than `disk_reserve` keeps.
    pub(super) is_low: bool,
}

impl Disk {
    pub(super) fn of(folder: PathBuf, limits: watch::Receiver<Limits>, shown: Gauge) -> Disk {
        Disk {
            folder,
            limits,
            shown,
            last: Mutex::default(),
        }
    }

    pub(super) fn last(&self) -> Room {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks again and again.
    pub(super) async fn watch(&self) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let folder = self.folder.clone();
            // A disk that hangs holds nobody else up.
            if let Ok((free, total)) = spawn_blocking(move || measure(&folder)).await {
                self.note(free, total);
            }
        }
    }

    fn note(&self, free: u64, total: u64) {
        let reserve = self.limits.borrow().disk_reserve;
        let is_low = total > 0 && free < reserve;
        let now = Room {
            free,
            total,
            is_low,
        };
        let was_low = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *last, now).is_low
        };
        self.shown.set(i64::from(is_low));
        match (was_low, is_low) {
            (false, true) => warn!(
                "the disk of {} has {} MiB left, less than the {} MiB that disk_reserve_mib keeps: nothing is written until \
                 there is room",
                self.folder.display(),
                free >> 20,
                reserve >> 20
            ),
            (true, false) => info!("the disk has room again, and writes are accepted"),
            (false, false) | (true, true) => {}
        }
    }
}

/// Free and total bytes of the file system that holds a folder; both 0 where it does not say.
fn measure(folder: &Path) -> (u64, u64) {
    match nix::sys::statvfs::statvfs(folder) {
        Ok(disk) => {
            let unit = disk.fragment_size();
            (disk.blocks_available() * unit, disk.blocks() * unit)
        }
        Err(_) => (0, 0),
    }
}
