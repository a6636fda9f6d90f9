//! Writing rows in key order into a table that may hold some of them.

use std::ops::Bound;
use std::thread;
use std::time::Duration;

use chat_replication::disk_store::file::Fault;
use redb::{ReadableTable, Table};

use super::overlay::Rows;
use super::sealed::seal;

/// Rows are written in slices of so many, with a pause after each, so that a checkpoint leaves a core to others.
const SLICE: usize = 2048;
const PAUSE: Duration = Duration::from_micros(500);

/// So many rows that stand together where the table has none are put in together.
const RUN: usize = 8;
/// Where they do not, so many rows are written before it is looked whether the next ones do: looking costs as much as
/// writing a row.
const RESPITE: usize = 16;

/// Writes and removes rows.
///
/// Most rows are new and stand side by side, behind all that the table has of their kind or of their conversation. The
/// cursor of such a gap fills page after page, where single inserts would search for the place of each row and leave
/// pages half empty.
pub(super) fn write_rows(table: &mut Table<'_, &[u8], &[u8]>, rows: &Rows) -> Result<(), Fault> {
    let mut rows = rows.iter().peekable();
    let mut pace = Pace::default();
    let mut sealed = Vec::new();
    let mut look_in = 0_usize;
    while let Some((key, value)) = rows.peek().copied() {
        if look_in == 0
            && let Some(gap) = Gap::at(table, key)?
            && rows
                .clone()
                .take(RUN)
                .filter(|(key, _)| gap.has(key))
                .count()
                == RUN
        {
            let mut cursor = table.lower_bound_mut(Bound::Excluded(key))?;
            while let Some((key, value)) = rows.next_if(|(key, _)| gap.has(key)) {
                // The table does not have what is to be removed.
                if let Some(value) = value {
                    cursor.insert_before(key, seal(key, value, &mut sealed))?;
                }
                pace.step();
            }
            cursor.close()?;
            continue;
        }
        look_in = look_in.checked_sub(1).unwrap_or(RESPITE);
        match value {
            Some(value) => drop(table.insert(key, seal(key, value, &mut sealed))?),
            None => drop(table.remove(key)?),
        }
        rows.next();
        pace.step();
    }
    Ok(())
}

/// Where the table has no rows, from some key on.
struct Gap {
    /// The first row that it has; `None` where nothing follows.
    end: Option<Vec<u8>>,
}

impl Gap {
    /// The one from this key on, unless the table has it.
    fn at(table: &Table<'_, &[u8], &[u8]>, key: &[u8]) -> Result<Option<Gap>, Fault> {
        let Some(next) = table.range::<&[u8]>(key..)?.next().transpose()? else {
            return Ok(Some(Gap { end: None }));
        };
        let end = next.0.value();
        Ok((end != key).then(|| Gap {
            end: Some(end.to_vec()),
        }))
    }

    /// Whether a key behind the first is in it.
    fn has(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// Leaves a core to others.
#[derive(Default)]
struct Pace {
    written: usize,
}

impl Pace {
    fn step(&mut self) {
        self.written += 1;
        if self.written.is_multiple_of(SLICE) {
            thread::sleep(PAUSE);
        }
    }
}
