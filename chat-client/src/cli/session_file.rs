//! The file that keeps the session between commands. It holds a secret: only its owner may read it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::Failure;
#[cfg(unix)]
use super::output::note;
use super::settings::Settings;
use crate::private_file;

/// Where the session is kept.
#[derive(Clone, Debug)]
pub(super) struct SessionFile {
    path: PathBuf,
}

/// What is kept of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSession {
    pub(super) username: String,
    pub(super) account_id: String,
    /// Secret.
    pub(super) token: String,
    pub(super) expire_time_ms: i64,
    /// How much this user has seen, hexadecimal: the next command must not see less, whichever replica it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) read_token: Option<String>,
}

impl SessionFile {
    /// The file that the user named, or the usual one of the profile.
    pub(super) fn of(settings: &Settings) -> Result<Self, Failure> {
        if let Some(path) = &settings.session {
            return Ok(Self::at(path));
        }
        let state_home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
        let usual = state_home
            .filter(|dir| dir.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
            .ok_or_else(|| {
                Failure::Usage(
                    "there is no home directory for the session file; name one with --session"
                        .into(),
                )
            })?;
        let name = match &settings.profile {
            Some(profile) => format!("chat/session-{profile}.toml"),
            None => "chat/session.toml".into(),
        };
        Ok(Self::at(&usual.join(name)))
    }

    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The session that is kept; none where nobody is logged in.
    pub(super) fn load(&self) -> Result<Option<StoredSession>, Failure> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.unusable(e)),
        };
        self.close_to_others()?;
        let session = toml::from_str(&text).map_err(|e| self.unusable(e.message().to_owned()))?;
        Ok(Some(session))
    }

    /// Keeps a session. Whoever reads the file at the same time sees the old or the new one, whole.
    pub(super) fn store(&self, session: &StoredSession) -> Result<(), Failure> {
        let text = toml::to_string(session).map_err(|e| self.unusable(e))?;
        self.replace(text.as_bytes()).map_err(|e| self.unusable(e))
    }

    /// Forgets the session.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.unusable(e)),
            _ => Ok(()),
        }
    }

    /// The folder beside which everything else of the program's state is kept.
    pub(super) fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let name = self
            .path
            .file_name()
            .ok_or_else(|| io::Error::other("it names no file"))?;
        private_file::write(self.folder(), &name.to_string_lossy(), content)
    }

    /// A session file that others could read is closed to them, and the user hears of it.
    #[cfg(unix)]
    fn close_to_others(&self) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt;

        const OWNER_ONLY: u32 = 0o600;
        let mode = fs::metadata(&self.path)
            .map_err(|e| self.unusable(e))?
            .permissions()
            .mode();
        if mode & 0o077 == 0 {
            return Ok(());
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(OWNER_ONLY))
            .map_err(|e| self.unusable(e))?;
        note(&format!(
            "warning: others could read the session file {} (mode {:o}); it is yours alone again (mode 600). \
             If somebody may have read it, end all sessions with `chat-client logout --all`",
            self.path.display(),
            mode & 0o777,
        ));
        Ok(())
    }

    /// Elsewhere the folder of the user's own data is closed to others by itself.
    #[cfg(not(unix))]
    fn close_to_others(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn unusable(&self, problem: impl ToString) -> Failure {
        Failure::SessionFile {
            path: self.path.clone(),
            problem: problem.to_string(),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn session() -> StoredSession {
        StoredSession {
            username: "alice".into(),
            account_id: "id".into(),
            token: "s3cret".into(),
            expire_time_ms: 7,
            read_token: None,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read_it_and_nothing_else_is_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state/chat/session.toml");
        let file = SessionFile::at(&path);
        assert_eq!(file.load().expect("no file"), None);
        file.store(&session()).expect("stored");
        file.store(&StoredSession {
            read_token: Some("ff".into()),
            ..session()
        })
        .expect("stored");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a parent")), 0o700);
        assert_eq!(
            file.load().expect("readable").and_then(|s| s.read_token),
            Some("ff".into())
        );
        assert_eq!(
            fs::read_dir(path.parent().expect("a parent"))
                .expect("a folder")
                .count(),
            1
        );
        file.remove().expect("removed");
        file.remove().expect("removed before");
        assert_eq!(file.load().expect("no file"), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("session.toml");
        let file = SessionFile::at(&path);
        file.store(&session()).expect("stored");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("own file");
        assert_eq!(file.load().expect("readable"), Some(session()));
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_spoilt_file_is_named_and_its_secret_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("session.toml");
        fs::write(&path, "token = \"s3cret\"\n???").expect("written");
        let error = SessionFile::at(&path).load().expect_err("spoilt");
        assert!(error.to_string().contains("session.toml"), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
