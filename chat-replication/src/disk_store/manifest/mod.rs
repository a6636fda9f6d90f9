//! The manifest: everything that a log holds beside its entries, in two files that say the same.
//!
//! Each file is frames ([`super::frame`]) that are only appended to. The first says whose log it is; each of the others is a
//! [`Record`]: what one transaction changes. A transaction is written to the first file and flushed, then to the second. So
//! whatever one of them lost, to rot or otherwise, the other has; and one alone never makes the log fall back to an
//! earlier time. Each open makes both of them whole.
//!
//! A file that has become much longer than what it says is replaced by one that begins with all of it. It is written
//! beside the old one, flushed and renamed; first the one file, then the other. In between the two are of different
//! *generations* and hold the same.
//!
//! The transactions are numbered. The number stands in each frame of the segments too, so that a manifest which is older than
//! the entries is found out.

mod chain;
mod contents;

use std::ops::Bound;

use redb::StorageBackend;
use uuid::Uuid;

pub(super) use self::chain::too_old;
use self::chain::{Chain, HEADER_SEED, Header, read_chain, seed_of};
pub(super) use self::contents::{Change, Contents};
use self::contents::{Place, Record};
use super::folder::{LogFile, LogFolder};
use super::frame::{self, Label};
use super::segments::Segment;
use super::trouble::Trouble;
use crate::store::{Identity, Piece};
use crate::types::{ClusterId, Index, Orphan, Position, ReplicaId, StoreUuid};

/// The files.
pub(super) const FILES: [&str; 2] = ["manifest.a", "manifest.b"];

/// Where a file is written that is to take the place of one of them.
const UNFINISHED: &str = "manifest.new";

/// Zeros that are written at once, ahead of the frames.
const GROWTH: u64 = 64 << 10;

/// A file is not replaced before it has this length.
const REWRITE_BYTES: u64 = 1 << 20;

/// Bytes of orphans in a record, where there are more.
const RECORD_BYTES: usize = 1 << 20;

/// The open manifest.
#[derive(Debug)]
pub(super) struct Manifest {
    /// What the files begin with: whose log it is, and what its store was called when it was made.
    made: Identity,
    contents: Contents,
    copies: [LogFile; 2],
    seed: u64,
    /// Number of the next frame.
    number: u64,
    /// Number of the last transaction.
    sequence: u64,
    /// Where the next frame goes.
    end: u64,
    /// Up to where the files are made of frames and zeros.
    grown: u64,
    /// Length of what the files began with.
    base: u64,
}

/// What an open found.
pub(super) struct Opened {
    pub(super) manifest: Manifest,
    /// Both files were as the last process left them.
    pub(super) was_whole: bool,
}

impl Manifest {
    /// Reads the manifest in a folder, whosever it is; `None` where there is none, nor any other trace of a log. Nothing is
    /// changed.
    pub(super) fn identity_in(folder: &dyn LogFolder) -> Result<Option<Identity>, Trouble> {
        let names = folder.names()?;
        let headers = headers_of(&files(folder, &names)?)?;
        match headers.into_iter().flatten().next() {
            Some(header) => header.checked().map(|header| Some(header.identity)),
            None => missing(&names).map(|()| None),
        }
    }

    /// Opens the manifest in a folder, or begins one where there is no trace of a log.
    pub(super) fn open(
        folder: &dyn LogFolder,
        cluster: ClusterId,
        replica: ReplicaId,
    ) -> Result<Opened, Trouble> {
        let names = folder.names()?;
        let files = files(folder, &names)?;
        let mut headers: Vec<Header> = Vec::new();
        for header in headers_of(&files)?.into_iter().flatten() {
            let header = header.checked()?;
            header.check_owner(cluster, replica)?;
            if !headers.contains(&header) {
                headers.push(header);
            }
        }
        let Some(identity) = headers.first().map(|header| header.identity) else {
            missing(&names)?;
            let store = StoreUuid(Uuid::new_v4());
            let identity = Identity {
                cluster,
                replica,
                store,
            };
            let contents = Contents {
                store,
                ..Contents::default()
            };
            let manifest = Manifest::write(folder, identity, contents, 0, &[])?;
            return Ok(Opened {
                manifest,
                was_whole: true,
            });
        };
        if headers.iter().any(|header| header.identity != identity) {
            return Err(Trouble::Damaged(format!(
                "{} and {} are of different logs",
                FILES[0], FILES[1]
            )));
        }
        let chain = newest(&files, &headers)?;
        Manifest::take(folder, files, identity, chain)
    }

    fn take(
        folder: &dyn LogFolder,
        files: [Option<LogFile>; 2],
        identity: Identity,
        chain: Chain,
    ) -> Result<Opened, Trouble> {
        let was_whole = chain.is_whole;
        let [Some(a), Some(b)] = files else {
            let manifest = Manifest::again(folder, identity, &files, chain)?;
            return Ok(Opened {
                manifest,
                was_whole,
            });
        };
        if !chain.is_equal {
            let manifest = Manifest::again(folder, identity, &[Some(a), Some(b)], chain)?;
            return Ok(Opened {
                manifest,
                was_whole,
            });
        }
        // The process that wrote them may have died before it flushed.
        for file in [&a, &b] {
            file.sync_data()?;
        }
        folder.sync()?;
        let manifest = Manifest {
            made: identity,
            contents: chain.contents,
            copies: [a, b],
            seed: chain.seed,
            number: chain.number,
            sequence: chain.sequence,
            end: chain.end,
            grown: chain.end,
            base: chain.base,
        };
        Ok(Opened {
            manifest,
            was_whole,
        })
    }

    /// Writes what was found into two new files.
    fn again(
        folder: &dyn LogFolder,
        identity: Identity,
        files: &[Option<LogFile>; 2],
        chain: Chain,
    ) -> Result<Manifest, Trouble> {
        let Chain {
            contents,
            sequence,
            seed,
            ..
        } = chain;
        let orphans = read_orphans(files, seed, &contents)?;
        Manifest::write(folder, identity, contents, sequence, &orphans)
    }

    /// Writes both files anew.
    fn write(
        folder: &dyn LogFolder,
        identity: Identity,
        mut contents: Contents,
        sequence: u64,
        orphans: &[Orphan],
    ) -> Result<Manifest, Trouble> {
        let header = Header::new(identity);
        let seed = seed_of(&header);
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        contents.orphans.clear();
        let change = contents.as_change();
        let mut number = 1;
        encode(
            &mut bytes,
            0,
            &mut number,
            sequence,
            seed,
            &change,
            orphans,
            &mut contents,
        );
        let end = bytes.len() as u64;
        if folder.names()?.iter().any(|name| name == UNFINISHED) {
            folder.remove(UNFINISHED)?;
        }
        let mut copies = Vec::new();
        for name in FILES {
            let file = folder.create(UNFINISHED)?;
            file.write(0, &bytes)?;
            file.sync_data()?;
            folder.rename(UNFINISHED, name)?;
            folder.sync()?;
            copies.push(file);
        }
        let copies = copies
            .try_into()
            .map_err(|_| Trouble::Io("there are two files".to_owned()))?;
        Ok(Manifest {
            made: identity,
            contents,
            copies,
            seed,
            number,
            sequence,
            end,
            grown: end,
            base: end,
        })
    }

    /// Whose log it is.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            store: self.contents.store,
            ..self.made
        }
    }

    /// What the store was called when it was made: what its entries are of, whatever it is called now.
    pub(super) fn made_as(&self) -> StoreUuid {
        self.made.store
    }

    /// What it says.
    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Number of the last transaction.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes a transaction, which also brings these orphans, of each origin one. It is durable when this returns.
    pub(super) fn commit(
        &mut self,
        folder: &dyn LogFolder,
        change: &Change,
        orphans: &[Orphan],
    ) -> Result<(), Trouble> {
        let mut bytes = Vec::new();
        let sequence = self.sequence + 1;
        encode(
            &mut bytes,
            self.end,
            &mut self.number,
            sequence,
            self.seed,
            change,
            orphans,
            &mut self.contents,
        );
        let end = self.end + bytes.len() as u64;
        if end > self.grown {
            self.grown = end.next_multiple_of(GROWTH);
            bytes.resize((self.grown - self.end) as usize, 0);
        }
        for copy in &self.copies {
            copy.write(self.end, &bytes)?;
            copy.sync_data()?;
        }
        self.end = end;
        self.sequence = sequence;
        if self.end > REWRITE_BYTES + 2 * self.base {
            self.rewrite(folder)?;
        }
        Ok(())
    }

    /// Leaves out of the files what does not count any more.
    pub(super) fn rewrite(&mut self, folder: &dyn LogFolder) -> Result<(), Trouble> {
        let orphans = self.orphans(None, usize::MAX)?;
        *self = Manifest::write(
            folder,
            self.made,
            self.contents.clone(),
            self.sequence,
            &orphans,
        )?;
        Ok(())
    }

    /// Orphans in the order of their origins, behind one if given, cut off where they are too many.
    pub(super) fn orphans(
        &self,
        after: Option<Position>,
        max_bytes: usize,
    ) -> Result<Vec<Orphan>, Trouble> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut piece = Piece::new(max_bytes);
        let places = self.contents.orphans.range((after, Bound::Unbounded));
        let places = places.take_while(|(_, place)| piece.takes(place.len as usize));
        self.read_places(places)
    }

    /// The orphans that have more than that in common with the log.
    pub(super) fn orphans_behind(&self, index: Index) -> Result<Vec<Orphan>, Trouble> {
        let places = self.contents.orphans.iter();
        self.read_places(places.filter(|(_, place)| place.fork > index))
    }

    fn read_places<'a>(
        &self,
        places: impl Iterator<Item = (&'a Position, &'a Place)>,
    ) -> Result<Vec<Orphan>, Trouble> {
        let copies = self.copies.each_ref().map(|copy| Some(&**copy));
        read_places(copies, self.seed, places)
    }
}

/// Appends the frames of a transaction, which begin at a place of the files, and does to the contents what they say.
#[allow(clippy::too_many_arguments)]
fn encode(
    bytes: &mut Vec<u8>,
    at: u64,
    number: &mut u64,
    sequence: u64,
    seed: u64,
    change: &Change,
    orphans: &[Orphan],
    contents: &mut Contents,
) {
    let mut put = |record: &Record| {
        let begin = bytes.len();
        let label = Label {
            count: 1,
            first: *number,
            sequence,
            seed,
        };
        frame::encode(bytes, label, |body| body.extend(record.encode()));
        *number += 1;
        at + begin as u64
    };
    let mut rest = orphans;
    let mut places = Vec::new();
    while !rest.is_empty() {
        let mut piece = Piece::new(RECORD_BYTES);
        let fits = rest.iter().take_while(|it| piece.takes(it.command.len()));
        let (some, others) = rest.split_at(fits.count());
        rest = others;
        let at = put(&Record::Orphans(some.to_vec()));
        places.extend(
            some.iter()
                .map(|orphan| (orphan.origin, Place::of(orphan, at))),
        );
    }
    put(&Record::Change(Box::new(change.clone())));
    contents.orphans.extend(places);
    contents.apply(change);
}

/// The files that there are.
fn files(folder: &dyn LogFolder, names: &[String]) -> Result<[Option<LogFile>; 2], Trouble> {
    let open = |name: &str| match names.iter().any(|it| it == name) {
        true => folder.open(name).map(Some),
        false => Ok(None),
    };
    Ok([open(FILES[0])?, open(FILES[1])?])
}

fn headers_of(files: &[Option<LogFile>; 2]) -> Result<[Option<Header>; 2], Trouble> {
    let header = |file: &Option<LogFile>| match file {
        Some(file) => {
            Ok(frame::read(&**file, 0, HEADER_SEED)?.and_then(|(_, body)| Header::parse(&body)))
        }
        None => Ok::<_, Trouble>(None),
    };
    Ok([header(&files[0])?, header(&files[1])?])
}

/// What it means that no manifest can be read.
fn missing(names: &[String]) -> Result<(), Trouble> {
    if FILES
        .iter()
        .any(|file| names.iter().any(|name| name == file))
    {
        return Err(Trouble::Damaged(format!(
            "neither {} nor {} can be read",
            FILES[0], FILES[1]
        )));
    }
    match names.iter().any(|name| Segment::parse_name(name).is_some()) {
        true => Err(Trouble::Damaged(format!(
            "there are entries, and neither {} nor {} is there to tell what they are",
            FILES[0], FILES[1]
        ))),
        false => Ok(()),
    }
}

/// What the files say, whatever is left of each.
fn newest(files: &[Option<LogFile>; 2], headers: &[Header]) -> Result<Chain, Trouble> {
    let mut chains = Vec::new();
    for header in headers {
        chains.push(read_chain(files, header)?);
    }
    // Two generations hold the same, unless one of them is damaged.
    let mut whole: Vec<Chain> = chains.into_iter().flatten().collect();
    whole.sort_by_key(|chain| chain.sequence);
    whole.pop().ok_or_else(|| {
        Trouble::Damaged(format!(
            "{} and {} are damaged at the same place",
            FILES[0], FILES[1]
        ))
    })
}

fn read_orphans(
    files: &[Option<LogFile>; 2],
    seed: u64,
    contents: &Contents,
) -> Result<Vec<Orphan>, Trouble> {
    let copies = [&files[0], &files[1]].map(Option::as_deref);
    read_places(copies, seed, contents.orphans.iter())
}

/// Reads orphans, each from the file that has it whole.
fn read_places<'a>(
    copies: [Option<&dyn StorageBackend>; 2],
    seed: u64,
    places: impl Iterator<Item = (&'a Position, &'a Place)>,
) -> Result<Vec<Orphan>, Trouble> {
    let mut orphans = Vec::new();
    let mut read: Option<(u64, Vec<Orphan>)> = None;
    for (origin, place) in places {
        if read.as_ref().is_none_or(|(at, _)| *at != place.at) {
            read = Some((place.at, chain::read_orphans(copies, place.at, seed)?));
        }
        let some = read.as_ref().map_or(&[][..], |(_, some)| some);
        let found = some.iter().find(|orphan| orphan.origin == *origin);
        let found =
            found.ok_or_else(|| Trouble::Damaged(format!("the orphan of {origin} is missing")))?;
        orphans.push(found.clone());
    }
    Ok(orphans)
}
