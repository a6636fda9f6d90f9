//! The file that the state is saved in.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::{Saved, WholeStateError};

pub(super) const NAME: &str = "state";
const NEW: &str = "state.new";
const MAGIC: &[u8; 16] = b"replica-state 1\n";
const HEADER: usize = MAGIC.len() + size_of::<u128>();

/// What was saved last; `None` where nothing was.
pub(super) fn read(folder: &Path) -> Result<Option<Saved>, WholeStateError> {
    let path = folder.join(NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(WholeStateError::Io {
                what: "read",
                path,
                source,
            });
        }
    };
    parse(&bytes)
        .map(Some)
        .map_err(|reason| WholeStateError::Damaged { path, reason })
}

fn parse(bytes: &[u8]) -> Result<Saved, String> {
    let (header, body) = bytes
        .split_at_checked(HEADER)
        .ok_or_else(|| format!("{} bytes are too few", bytes.len()))?;
    let (magic, checksum) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("it does not begin as such a file does".into());
    }
    if checksum != xxh3_128(body).to_le_bytes() {
        return Err("its checksum is wrong".into());
    }
    postcard::from_bytes(body).map_err(|error| error.to_string())
}

/// Puts it in the place of what was saved before, durably: a power loss leaves the one or the other.
pub(super) fn write(folder: &Path, saved: &Saved) -> Result<(), WholeStateError> {
    let body = postcard::to_allocvec(saved).map_err(WholeStateError::Encode)?;
    let (path, new) = (folder.join(NAME), folder.join(NEW));
    let failed = |what| {
        let path = new.clone();
        move |source| WholeStateError::Io { what, path, source }
    };
    fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
    let mut file = File::create(&new).map_err(failed("create"))?;
    for part in [MAGIC, &xxh3_128(&body).to_le_bytes()[..], &body] {
        file.write_all(part).map_err(failed("write"))?;
    }
    file.sync_all().map_err(failed("write"))?;
    fs::rename(&new, &path).map_err(failed("rename"))?;
    // The name is durable once its folder is. Only Unix can say so.
    #[cfg(unix)]
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync the folder of"))?;
    Ok(())
}
