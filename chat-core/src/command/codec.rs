//! Commands as bytes, for the log.

use super::{Command, CommandBody};

/// The version of the encoding, its first byte.
const VERSION: u8 = 1;

/// Longer than any command: a body of the greatest length, or a full batch of ids, and room for the rest.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// What a message takes beside its text, which is the most frequent command: it is not to be moved while it is written.
const FIELDS: usize = 72;

/// Why bytes are no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the command is empty")]
    Empty,
    /// There are more bytes than any command has.
    #[error("the command has {0} bytes, more than any has")]
    TooLong(usize),
    /// Encoded by a version that this one does not know.
    #[error(
        "the command is encoded in version {0}, and this program reads version {VERSION}: upgrade it"
    )]
    UnknownVersion(u8),
    /// The bytes do not follow the encoding.
    #[error("the command is malformed: {0}")]
    Malformed(String),
}

impl Command {
    /// The command as bytes that [`Command::decode`] reads: one byte of version, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        let text = match &self.body {
            CommandBody::Send { body, .. } => body.as_str().len(),
            _ => 0,
        };
        let mut bytes = Vec::with_capacity(FIELDS + text);
        bytes.push(VERSION);
        // Writing into a vector cannot fail, and no field refuses to be written.
        postcard::to_extend(self, bytes).expect("a command can always be encoded")
    }

    /// Reads a command.
    ///
    /// # Errors
    ///
    /// Whatever [`Command::encode`] would not have written; no input makes it panic or allocate more than a small
    /// multiple of its length.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
        if bytes.len() > MAX_BYTES {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        if *version != VERSION {
            return Err(DecodeError::UnknownVersion(*version));
        }
        match postcard::take_from_bytes(rest) {
            Ok((command, [])) => Ok(command),
            Ok((_, trailing)) => Err(DecodeError::Malformed(format!(
                "{} bytes follow its end",
                trailing.len()
            ))),
            Err(error) => Err(DecodeError::Malformed(error.to_string())),
        }
    }
}
