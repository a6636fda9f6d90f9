//! One byte of one file of a replica is not what was written: the replica serves what was acknowledged, or refuses and says
//! what to do, or mends itself from its peers. It never serves less than was acknowledged.
//!
//! Most flips are tried in this process, on the files alone: opened as a start opens them, and looked at as
//! `chat-server verify` does. A few are tried by replicas that run, alone and beside two whole ones.
//! `CHAT_ROT_FLIPS=2000` tries so many bytes of each file, `CHAT_ROT_STARTS=40` so many with processes; `CHAT_ROT_SEED` draws
//! others.

mod files;
mod processes;
mod template;

use std::path::{Path, PathBuf};
use std::{env, fs};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::template::Template;

/// One bit of one file of a data folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Flip {
    /// Within the folder.
    file: PathBuf,
    at: u64,
    bit: u8,
}

impl Flip {
    fn apply(&self, folder: &Path) {
        let path = folder.join(&self.file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[self.at as usize] ^= 1 << self.bit;
        fs::write(&path, bytes).unwrap();
    }
}

/// A number from the environment.
fn variable(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |value| value.parse().unwrap())
}

/// So many flips of each file of a folder. Most of a file is zeros that nobody reads: half of the flips are elsewhere, and
/// some in its first page, where a database has its header.
fn flips(folder: &Path, of_each: u64) -> Vec<Flip> {
    let mut random = ChaCha8Rng::seed_from_u64(variable("CHAT_ROT_SEED", 17));
    let mut flips = Vec::new();
    for file in files_in(folder) {
        let bytes = fs::read(folder.join(&file)).unwrap();
        let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        if written.is_empty() {
            continue;
        }
        for number in 0..of_each {
            let at = match number % 4 {
                0 => random.random_range(0..bytes.len()),
                1 => random.random_range(0..bytes.len().min(512)),
                _ => written[random.random_range(0..written.len())],
            };
            let bit = random.random_range(0..8);
            let (file, at) = (file.clone(), at as u64);
            flips.push(Flip { file, at, bit });
        }
    }
    flips.sort();
    flips.dedup();
    flips
}

/// The files of a data folder, but for locks and sockets.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = PathBuf::from(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            let inside = files_in(&entry.path()).into_iter();
            files.extend(inside.map(|file| name.join(file)));
        } else if entry.file_type().unwrap().is_file()
            && name.extension().is_none_or(|ending| ending != "lock")
        {
            files.push(name);
        }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files_in(from) {
        let copied = to.join(&file);
        fs::create_dir_all(copied.parent().unwrap()).unwrap();
        fs::copy(from.join(file), copied).unwrap();
    }
}

/// A flipped byte of the log's index once made a replica serve 100 of 300 acknowledged messages, and remove the file with
/// the others.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_byte_rots_nothing_acknowledged_is_missing_without_a_word() {
    let template = Template::make().await;
    let mut wrong = Vec::new();
    for (name, folder) in template.folders() {
        let flips = flips(folder, variable("CHAT_ROT_FLIPS", 4));
        wrong.extend(files::try_all(name, folder, &flips));
    }
    let starts = variable("CHAT_ROT_STARTS", 2);
    wrong.extend(processes::try_some(&template, starts).await);
    for one in wrong.iter().take(60) {
        tell(one);
    }
    assert!(wrong.is_empty(), "{} flips went wrong", wrong.len());
}

#[allow(clippy::print_stderr)]
fn tell(line: &str) {
    eprintln!("{line}");
}
