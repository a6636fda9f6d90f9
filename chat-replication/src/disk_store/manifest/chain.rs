//! Reading the records of a manifest, each from the file that has it whole.

use redb::StorageBackend;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::folder::LogFile;
use super::super::frame::{self, Label};
use super::super::trouble::Trouble;
use super::contents::{Contents, Place, Record};
use crate::store::Identity;
use crate::types::{ClusterId, Orphan, ReplicaId, StoreUuid};

/// The format that this version reads and writes.
const FORMAT_VERSION: u32 = 4;

/// What the first frame's checksums are seeded with.
pub(super) const HEADER_SEED: u64 = u64::from_le_bytes(*b"manifest");

/// Length of the header in this format. Newer ones begin with the same.
const HEADER: usize = 48;

/// What a file begins with: whose log it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    format: u32,
    pub(super) identity: Identity,
    /// Drawn at random, so that no frame is valid in two files but those that say the same.
    generation: u64,
}

impl Header {
    pub(super) fn new(identity: Identity) -> Header {
        Header {
            format: FORMAT_VERSION,
            identity,
            generation: Uuid::new_v4().as_u64_pair().0,
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let label = Label {
            count: 1,
            first: 0,
            sequence: 0,
            seed: HEADER_SEED,
        };
        frame::encode(bytes, label, |body| {
            body.extend(self.format.to_le_bytes());
            body.extend(self.identity.cluster.0.as_bytes());
            body.extend(self.identity.replica.0.to_le_bytes());
            body.extend(self.identity.store.0.as_bytes());
            body.extend(self.generation.to_le_bytes());
        });
    }

    pub(super) fn parse(body: &[u8]) -> Option<Header> {
        let (format, rest) = body.get(..HEADER)?.split_first_chunk()?;
        let (cluster, rest) = rest.split_first_chunk()?;
        let (replica, rest) = rest.split_first_chunk()?;
        let (store, generation) = rest.split_first_chunk()?;
        Some(Header {
            format: u32::from_le_bytes(*format),
            identity: Identity {
                cluster: ClusterId(Uuid::from_bytes(*cluster)),
                replica: ReplicaId(u32::from_le_bytes(*replica)),
                store: StoreUuid(Uuid::from_bytes(*store)),
            },
            generation: u64::from_le_bytes(generation.try_into().ok()?),
        })
    }

    /// The header, if this version reads what follows it.
    pub(super) fn checked(self) -> Result<Header, Trouble> {
        let format = self.format;
        match format.cmp(&FORMAT_VERSION) {
            std::cmp::Ordering::Equal => Ok(self),
            std::cmp::Ordering::Greater => Err(Trouble::Foreign(format!(
                "was written by a newer version (format {format}, this version reads format {FORMAT_VERSION}); install \
                 that version again"
            ))),
            std::cmp::Ordering::Less => Err(too_old(format)),
        }
    }

    /// Whether the log is this replica's.
    pub(super) fn check_owner(
        &self,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<(), Trouble> {
        let owner = self.identity;
        if owner.cluster != cluster {
            return Err(Trouble::OtherCluster(owner.cluster, cluster));
        }
        if owner.replica != replica {
            return Err(Trouble::Foreign(format!(
                "belongs to replica {}, not to replica {replica}; point each replica at its own data folder",
                owner.replica
            )));
        }
        Ok(())
    }
}

/// Why a log of an older format is not read.
pub(in super::super) fn too_old(format: u32) -> Trouble {
    Trouble::Foreign(format!(
        "was written by a version from before the first release (format {format}, this version reads format \
         {FORMAT_VERSION}); make a backup with that version and restore it with this one, or let the replica rejoin with an \
         empty data folder"
    ))
}

/// What the checksums of the frames behind a header are seeded with.
pub(super) fn seed_of(header: &Header) -> u64 {
    xxh3_64_with_seed(
        header.identity.store.0.as_bytes(),
        header.generation ^ HEADER_SEED,
    )
}

/// What the files of one generation say.
pub(super) struct Chain {
    pub(super) contents: Contents,
    pub(super) seed: u64,
    /// Number of the next frame.
    pub(super) number: u64,
    /// Number of the last transaction.
    pub(super) sequence: u64,
    /// Where the last transaction ends.
    pub(super) end: u64,
    /// Where the first one ends.
    pub(super) base: u64,
    /// Both files hold all of it and nothing else.
    pub(super) is_equal: bool,
    /// Neither file lacks anything but what a crash takes.
    pub(super) is_whole: bool,
}

/// The state of reading.
struct Reading {
    chain: Chain,
    /// Orphans that no change has made count yet.
    pending: Vec<(u64, Vec<Orphan>)>,
    at: u64,
    number: u64,
    /// Number of the last transaction's first frame.
    begun: u64,
    next_begins: u64,
    /// Number of the first frame that each file lacks.
    lacks: [Option<u64>; 2],
}

/// The records of one generation; `None` where a transaction is missing in both files.
pub(super) fn read_chain(
    files: &[Option<LogFile>; 2],
    header: &Header,
) -> Result<Option<Chain>, Trouble> {
    let mut reading = Reading::new(header);
    while reading.step(files, header)? {}
    let Reading {
        mut chain,
        begun,
        lacks,
        ..
    } = reading;
    if chain.end == 0 {
        return Ok(None);
    }
    let mut are_clean = true;
    for file in files.iter().flatten() {
        let rest = rest(&**file, chain.end)?;
        are_clean &= frame::used(&rest) == 0;
        let mut from = 0;
        while let Some((at, head)) = frame::find(&rest, from, chain.seed) {
            // What a crash left of one transaction may have a hole. A later one was begun when that one was flushed.
            if head.sequence > chain.sequence + 1 {
                return Ok(None);
            }
            from = at + 1;
        }
    }
    let has = |file: usize, number: u64| lacks[file].is_none_or(|lacks| lacks >= number);
    chain.is_equal = has(0, chain.number) && has(1, chain.number) && are_clean;
    chain.is_whole = has(0, chain.number) && has(1, begun);
    Ok(Some(chain))
}

impl Reading {
    fn new(header: &Header) -> Reading {
        Reading {
            chain: Chain {
                contents: Contents::default(),
                seed: seed_of(header),
                number: 0,
                sequence: 0,
                end: 0,
                base: 0,
                is_equal: false,
                is_whole: false,
            },
            pending: Vec::new(),
            at: 0,
            number: 0,
            begun: 0,
            next_begins: 0,
            lacks: [None, None],
        }
    }

    /// Reads the next frame; whether there is one.
    fn step(&mut self, files: &[Option<LogFile>; 2], header: &Header) -> Result<bool, Trouble> {
        let (at, number) = (self.at, self.number);
        let seed = match number {
            0 => HEADER_SEED,
            _ => self.chain.seed,
        };
        let mut found = None;
        for (file, lacks) in files.iter().zip(&mut self.lacks) {
            let frame = match file {
                Some(file) => frame::read(&**file, at, seed)?,
                None => None,
            };
            let frame = frame.filter(|(head, body)| {
                head.first == number && (number > 0 || Header::parse(body) == Some(*header))
            });
            if frame.is_none() {
                lacks.get_or_insert(number);
            }
            found = found.or(frame);
        }
        let Some((head, body)) = found else {
            return Ok(false);
        };
        self.at += head.frame_len() as u64;
        self.number += 1;
        if number == 0 {
            self.next_begins = 1;
            return Ok(true);
        }
        match Record::decode(&body)? {
            Record::Orphans(orphans) => self.pending.push((at, orphans)),
            Record::Change(change) => {
                let chain = &mut self.chain;
                for (at, orphans) in self.pending.drain(..) {
                    let places = orphans.iter();
                    let places = places.map(|orphan| (orphan.origin, Place::of(orphan, at)));
                    chain.contents.orphans.extend(places);
                }
                chain.contents.apply(&change);
                chain.sequence = head.sequence;
                chain.number = self.number;
                chain.end = self.at;
                if chain.base == 0 {
                    chain.base = self.at;
                }
                self.begun = std::mem::replace(&mut self.next_begins, self.number);
            }
        }
        Ok(true)
    }
}

fn rest(file: &dyn StorageBackend, from: u64) -> Result<Vec<u8>, Trouble> {
    let length = file.len()?.saturating_sub(from);
    let mut rest = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    if !rest.is_empty() {
        file.read(from, &mut rest)?;
    }
    Ok(rest)
}

/// The orphans of a frame, from the file that has it whole.
pub(super) fn read_orphans(
    copies: [Option<&dyn StorageBackend>; 2],
    at: u64,
    seed: u64,
) -> Result<Vec<Orphan>, Trouble> {
    for copy in copies.into_iter().flatten() {
        let frame = frame::read(copy, at, seed);
        // Whatever is wrong with one of them, the other is asked.
        if let Ok(Some((_, body))) = frame
            && let Ok(Record::Orphans(orphans)) = Record::decode(&body)
        {
            return Ok(orphans);
        }
    }
    Err(Trouble::Damaged(
        "orphans cannot be read in either of its manifests".to_owned(),
    ))
}
