//! The socket in the data folder, and who may open it: the folder's owner.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};

/// Name of the socket within the data folder.
pub(crate) const SOCKET: &str = "admin.sock";

/// Operators who wait to be let in.
const BACKLOG: u32 = 16;

/// The longest path that a socket can have on the systems that this runs on, less the zero at its end.
const LONGEST_PATH: usize = 103;

/// A socket that is taken away when it is dropped.
pub(super) struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Listens in a data folder that this process has to itself, so that a socket which is there already is nobody's.
    pub(super) fn listen(folder: &Path) -> io::Result<(Socket, UnixListener)> {
        let path = path_in(folder)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixSocket::new_stream()?;
        socket.bind(&path)?;
        // Nobody can connect before it listens.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let listener = socket.listen(BACKLOG)?;
        Ok((Socket { path }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The next start does it otherwise.
        let _ = fs::remove_file(&self.path);
    }
}

/// Where the socket of a data folder is.
pub(crate) fn path_in(folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join(SOCKET);
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "the path {} is longer than the {LONGEST_PATH} bytes that a socket's may have; use a data folder with a \
                 shorter path",
                path.display()
            ),
        ));
    }
    Ok(path)
}
