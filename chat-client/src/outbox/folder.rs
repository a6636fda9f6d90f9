//! The messages as files: one each, named by its request id.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{OutboxError, OutboxMessage};
use crate::ids::RequestId;
use crate::private_file;
use crate::timestamp::Timestamp;

const EXTENSION: &str = "json";

#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) messages: BTreeMap<RequestId, OutboxMessage>,
    pub(super) spoilt: Vec<(PathBuf, String)>,
}

/// A message as its file holds it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    recipient: String,
    body: String,
    written_ms: i64,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) async fn load(self) -> Result<Found, OutboxError> {
        self.blocking(Self::load_now).await
    }

    pub(super) async fn store(self, message: OutboxMessage) -> Result<(), OutboxError> {
        self.blocking(move |folder| {
            let stored = Stored {
                recipient: message.recipient,
                body: message.body,
                written_ms: message.written.as_unix_ms(),
            };
            let content = serde_json::to_vec(&stored).map_err(io::Error::other)?;
            private_file::write(&folder.path, &file_name(message.id), &content)
        })
        .await
    }

    /// Forgets a message. Not made durable: one that comes back after a crash is sent again under its id, to no effect.
    pub(super) async fn remove(self, id: RequestId) -> Result<(), OutboxError> {
        self.blocking(
            move |folder| match fs::remove_file(folder.path.join(file_name(id))) {
                // Another program has sent it, too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            },
        )
        .await
    }

    fn load_now(&self) -> io::Result<Found> {
        private_file::create_folder(&self.path)?;
        let mut found = Found::default();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            // Others are being written, or were when their program died.
            if path.extension().is_none_or(|e| e != EXTENSION) {
                continue;
            }
            match read(&path) {
                Ok(Some(message)) => {
                    found.messages.insert(message.id, message);
                }
                Ok(None) => {}
                Err(problem) => found.spoilt.push((path, problem)),
            }
        }
        Ok(found)
    }

    /// Waits for the disk without keeping other tasks from their work.
    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let folder = self.path.clone();
        let done = tokio::task::spawn_blocking(move || work(&self)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| OutboxError { folder, source })
    }
}

/// A message; none where another program has just sent it.
fn read(path: &std::path::Path) -> Result<Option<OutboxMessage>, String> {
    let id = path
        .file_stem()
        .and_then(|stem| stem.to_str()?.parse().ok())
        .ok_or("its name is no request id")?;
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let stored: Stored = serde_json::from_slice(&content).map_err(|e| e.to_string())?;
    Ok(Some(OutboxMessage {
        id,
        recipient: stored.recipient,
        body: stored.body,
        written: Timestamp::from_unix_ms(stored.written_ms),
    }))
}

fn file_name(id: RequestId) -> String {
    format!("{id}.{EXTENSION}")
}
