//! Passwords: asked for, or read from a file or from standard input; never from the command line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;

use super::args::PasswordSource;
use super::failure::Failure;
use super::settings::Prompts;

/// Whether a mistyped password would be noticed only later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A wrong one is refused.
    Once,
    /// A new one is asked for twice.
    Twice,
}

/// The password, from wherever the user said.
pub(super) fn read(
    source: &PasswordSource,
    prompt: &str,
    ask: Ask,
    prompts: Prompts,
) -> Result<String, Failure> {
    if let Some(file) = &source.password_file {
        return from_file(file);
    }
    if source.password_stdin {
        return from_stdin();
    }
    if prompts == Prompts::Never {
        return Err(Failure::Usage(
            "a password is needed, and --no-input forbids to ask; use --password-file or --password-stdin".into(),
        ));
    }
    match ask {
        Ask::Once => prompt_for(prompt),
        Ask::Twice => {
            let first = prompt_for(prompt)?;
            if first != prompt_for("The same again: ")? {
                return Err(Failure::Usage(
                    "the two passwords differ; nothing was done".into(),
                ));
            }
            Ok(first)
        }
    }
}

pub(super) fn from_file(path: &Path) -> Result<String, Failure> {
    let unusable = |e: io::Error| {
        Failure::Usage(format!(
            "the password file {} cannot be read: {e}",
            path.display()
        ))
    };
    let file = File::open(path).map_err(unusable)?;
    first_line(BufReader::new(file))
        .map_err(unusable)?
        .ok_or_else(|| {
            Failure::Usage(format!(
                "the first line of the password file {} is empty",
                path.display()
            ))
        })
}

pub(super) fn from_stdin() -> Result<String, Failure> {
    first_line(io::stdin().lock())
        .map_err(|e| Failure::Usage(format!("standard input cannot be read: {e}")))?
        .ok_or_else(|| Failure::Usage("no password came from standard input".into()))
}

/// Asks whether the user means it.
pub(super) fn confirm(question: &str, expected: &str, prompts: Prompts) -> Result<(), Failure> {
    if prompts == Prompts::Never || !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "nobody is there to confirm; add --yes if you mean it".into(),
        ));
    }
    let mut err = io::stderr().lock();
    let _ = write!(err, "{question}");
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Failure::Usage(format!("standard input cannot be read: {e}")))?;
    if answer.trim() == expected {
        return Ok(());
    }
    Err(Failure::Usage("not confirmed; nothing was done".into()))
}

fn prompt_for(prompt: &str) -> Result<String, Failure> {
    rpassword::prompt_password(prompt).map_err(|e| {
        Failure::Usage(format!(
            "no terminal to ask for the password ({e}); use --password-file or --password-stdin"
        ))
    })
}

/// The first line without its end; none where it is empty.
fn first_line(mut from: impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    Ok((!password.is_empty()).then(|| password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_and_keeps_its_spaces() {
        let read = |text: &str| first_line(text.as_bytes()).expect("readable");
        assert_eq!(read("secret\n").as_deref(), Some("secret"));
        assert_eq!(read(" a b \r\nsecond").as_deref(), Some(" a b "));
        assert_eq!(read("no end").as_deref(), Some("no end"));
        assert_eq!(read(""), None);
        assert_eq!(read("\nsecond"), None);
    }
}
