//! The line of a cluster file that tells a restored cluster from the one before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use chat_replication::types::ClusterId;
use tempfile::NamedTempFile;

use super::{ClusterConfig, raw};

/// The line, which stands in the table `[cluster]`.
pub(crate) fn line(incarnation: ClusterId) -> String {
    format!("incarnation = \"{incarnation}\"")
}

/// Puts the line into a cluster file, in the place of an earlier one. The rest of the file stays as it is.
///
/// # Errors
///
/// The file is not changed then, and the line has to be put there by hand.
pub(crate) fn write_incarnation(path: &Path, incarnation: ClusterId) -> io::Result<()> {
    // What a link names is changed, not the link.
    let path = fs::canonicalize(path)?;
    let text = fs::read_to_string(&path)?;
    let changed = with_incarnation(&text, incarnation)
        .filter(|changed| says_the_same(&text, changed, incarnation, &path))
        .ok_or_else(|| io::Error::other("its [cluster] table is written in an unusual way"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let before = fs::metadata(&path)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(changed.as_bytes())?;
    fs::set_permissions(file.path(), before.permissions())?;
    // Whoever could read it can read it still.
    let is_ours = file.as_file().metadata()?;
    if (is_ours.uid(), is_ours.gid()) != (before.uid(), before.gid()) {
        chown(file.path(), Some(before.uid()), Some(before.gid()))?;
    }
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// The text with the line behind the cluster's id, or with another value in a line that it has.
fn with_incarnation(text: &str, incarnation: ClusterId) -> Option<String> {
    let file: raw::File = toml::from_str(text).ok()?;
    if let Some(value) = &file.cluster.incarnation {
        let (before, behind) = (&text[..value.span().start], &text[value.span().end..]);
        return Some(format!("{before}\"{incarnation}\"{behind}"));
    }
    let id = file.cluster.id.span().end;
    let end = text[id..].find('\n').map_or(text.len(), |end| id + end);
    let (before, behind) = text.split_at(end);
    Some(format!("{before}\n{}{behind}", line(incarnation)))
}

fn says_the_same(text: &str, changed: &str, incarnation: ClusterId, path: &Path) -> bool {
    let (before, after) = (
        ClusterConfig::parse(text, path),
        ClusterConfig::parse(changed, path),
    );
    let (Ok(before), Ok(after)) = (before, after) else {
        return false;
    };
    let expected = ClusterConfig {
        incarnation: Some(incarnation),
        ..before
    };
    after == expected
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::config::{Layout, template};

    #[test]
    fn the_line_is_put_in_and_later_replaced_and_nothing_else_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.toml");
        let text = template(ClusterId(Uuid::from_u128(7)), Layout::default());
        fs::write(&path, &text).expect("written");
        for number in [8, 9] {
            let incarnation = ClusterId(Uuid::from_u128(number));
            write_incarnation(&path, incarnation).expect("changed");
            let changed = fs::read_to_string(&path).expect("read");
            let config = ClusterConfig::parse(&changed, &path).expect("valid");
            assert_eq!(config.log_id(), incarnation);
            let line = format!("{}\n", line(incarnation));
            assert_eq!(changed.replacen(&line, "", 1), text);
        }
    }

    #[test]
    fn a_file_in_which_the_line_has_no_place_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster.toml");
        let text = "cluster = { id = \"0198c5a2-7c1e-4b3a-9d2f-0123456789ab\" }\n\
                    replica = [{ id = 0, client_listen = \"127.0.0.1:1\", peer_listen = \"127.0.0.1:2\", data_dir = \"d\" }]\n";
        fs::write(&path, text).expect("written");
        ClusterConfig::parse(text, &path).expect("valid");
        let refused = write_incarnation(&path, ClusterId(Uuid::from_u128(8)));
        assert!(refused.is_err());
        assert_eq!(fs::read_to_string(&path).expect("read"), text);
    }
}
