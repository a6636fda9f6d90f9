//! What is wrong with a cluster file.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A cluster file that cannot be used. The message names file and line, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said, and what to do.
        problem: String,
    },
    /// Something in the file is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Mistake {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there, and what to do.
        problem: String,
    },
    /// What the environment or the command line says instead is wrong.
    #[error("{whence}: {problem}")]
    Overridden {
        /// The variable, or the argument.
        whence: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

impl ConfigError {
    /// What is wrong, without where.
    pub(super) fn problem(self) -> String {
        match self {
            ConfigError::Unreadable { problem, .. }
            | ConfigError::Mistake { problem, .. }
            | ConfigError::Overridden { problem, .. } => problem,
        }
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
        let problem = match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no such file; `chat-server config new` writes one".to_owned()
            }
            io::ErrorKind::InvalidData => {
                "the file is not UTF-8 text; is it a cluster file?".to_owned()
            }
            _ => format!("cannot be read: {error}"),
        };
        ConfigError::Unreadable {
            path: path.to_owned(),
            problem,
        }
    }
}

/// Turns places in the text into lines.
pub(super) struct Lines<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
}

impl Lines<'_> {
    pub(super) fn mistake(
        &self,
        span: Option<Range<usize>>,
        problem: impl Into<String>,
    ) -> ConfigError {
        let start = span.map_or(0, |span| span.start).min(self.text.len());
        let line = 1 + self.text.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        ConfigError::Mistake {
            path: self.path.to_owned(),
            line,
            problem: problem.into(),
        }
    }
}
