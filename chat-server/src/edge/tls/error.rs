//! Certificates and keys that cannot be used.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Certificates or keys cannot be used. The message names the file and says what to do.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{}: {problem}", file.display())]
pub struct TlsError {
    file: PathBuf,
    problem: String,
}

impl TlsError {
    pub(crate) fn new(file: &Path, problem: impl Into<String>) -> TlsError {
        TlsError {
            file: file.to_owned(),
            problem: problem.into(),
        }
    }
}
