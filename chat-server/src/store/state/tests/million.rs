//! A start does not read the rows, however many there are.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use chat_core::store::KeyValue;

use super::support::*;
use crate::store::state::STATE_FILE;
use crate::store::state::file::StateFile;
use crate::store::state::key_value::StateStore;
use crate::store::state::overlay::Checkpoint;

const ROWS: u32 = 1_000_000;

fn key(number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    key[4..8].copy_from_slice(&number.to_be_bytes());
    key
}

#[test]
#[allow(clippy::print_stdout)]
fn a_million_rows_are_opened_without_reading_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = Arc::new(StateFile::open(folder.path(), 64 << 20, CLUSTER, REPLICA).unwrap());
    let mut store = StateStore::new(Arc::clone(&file)).unwrap();
    let begun = Instant::now();
    for number in 0..ROWS {
        store.put(&key(number), &[7; 100]).unwrap();
        if number % 200_000 == 199_999 {
            let frozen = store.freeze(Checkpoint::default());
            file.write(&frozen).unwrap();
            let base = StateStore::base_of(&file).unwrap();
            store.thaw(base);
        }
    }
    println!("wrote {ROWS} rows in {:?}", begun.elapsed());
    // What a killed process leaves: nobody has closed this copy.
    let killed = tempfile::tempdir().unwrap();
    let bytes = fs::copy(file.path(), killed.path().join(STATE_FILE)).unwrap();
    // Else opening it would have to wait for the copy to reach the disk.
    fs::File::open(killed.path().join(STATE_FILE))
        .unwrap()
        .sync_all()
        .unwrap();
    println!("the file has {} MiB", bytes >> 20);
    drop(store);
    drop(file);
    // A process of its own, whose memory is not that of the writer.
    let (_, module) = module_path!().split_once("::").unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            &format!("{module}::opens_a_million_rows"),
            "--nocapture",
        ])
        .env("MILLION_ROWS", killed.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}");
    let figures = said
        .lines()
        .find(|line| line.starts_with("opened"))
        .unwrap();
    println!("{figures}");
}

/// The child process of the test above.
#[test]
#[ignore = "not a test of its own"]
#[allow(clippy::print_stdout)]
fn opens_a_million_rows() {
    let Some(folder) = std::env::var_os("MILLION_ROWS") else {
        return;
    };
    let before = resident();
    let begun = Instant::now();
    let file = Arc::new(StateFile::open(Path::new(&folder), 64 << 20, CLUSTER, REPLICA).unwrap());
    let store = StateStore::new(file).unwrap();
    assert_eq!(store.read(&key(123_456)).unwrap(), Some(vec![7; 100]));
    let (elapsed, grown) = (begun.elapsed(), resident().saturating_sub(before));
    println!(
        "opened {ROWS} rows and read one in {elapsed:?}, for which memory grew by {} KiB",
        grown >> 10
    );
    assert!(grown < 32 << 20, "{grown} bytes");
}

/// Memory of this process, in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib << 10)
}
