//! Lines from the user, read by a thread of its own, one at a time and only when asked for.

use std::io::{self, BufRead, Write};
use std::sync::mpsc;

use rustyline::config::Config;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, Result};
use tokio::sync::oneshot;

use super::screen::Screen;

pub(super) struct Input {
    asks: mpsc::Sender<Ask>,
    kind: Kind,
}

/// Where lines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Terminal,
    Plain,
}

struct Ask {
    what: What,
    answer: oneshot::Sender<Option<String>>,
}

enum What {
    Line(String),
    /// What is typed is not shown.
    Hidden(String),
}

/// Lines edited in the terminal, and the screen that goes with it.
pub(super) fn terminal() -> Result<(Input, Screen)> {
    let config = Config::builder()
        .auto_add_history(true)
        .history_ignore_space(false)
        .build();
    let mut editor = DefaultEditor::with_config(config)?;
    let screen = Screen::around_editor(editor.create_external_printer()?);
    let (asks, todo) = mpsc::channel::<Ask>();
    std::thread::spawn(move || {
        for ask in todo {
            let answer = match ask.what {
                What::Line(prompt) => edit(&mut editor, &prompt),
                What::Hidden(prompt) => rpassword::prompt_password(prompt).ok(),
            };
            let _ = ask.answer.send(answer);
        }
    });
    Ok((
        Input {
            asks,
            kind: Kind::Terminal,
        },
        screen,
    ))
}

/// Lines as they come, without prompts.
pub(super) fn plain() -> Input {
    let (asks, todo) = mpsc::channel::<Ask>();
    std::thread::spawn(move || {
        let mut lines = io::stdin().lock().lines();
        for ask in todo {
            let answer = lines.next().and_then(|line| line.ok());
            let _ = ask.answer.send(answer);
        }
    });
    Input {
        asks,
        kind: Kind::Plain,
    }
}

impl Input {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The next line; none at the end.
    pub(super) async fn line(&self, prompt: &str) -> Option<String> {
        self.ask(What::Line(prompt.to_owned())).await
    }

    /// The next line, typed unseen.
    pub(super) async fn hidden(&self, prompt: &str) -> Option<String> {
        self.ask(What::Hidden(prompt.to_owned())).await
    }

    async fn ask(&self, what: What) -> Option<String> {
        let (answer, line) = oneshot::channel();
        self.asks.send(Ask { what, answer }).ok()?;
        line.await.ok().flatten()
    }
}

fn edit(editor: &mut DefaultEditor, prompt: &str) -> Option<String> {
    loop {
        match editor.readline(prompt) {
            Ok(line) => return Some(line),
            // Drops the line, as in a shell.
            Err(ReadlineError::Interrupted) => {
                let _ = writeln!(io::stderr(), "/quit or Ctrl-D leaves");
            }
            Err(_) => return None,
        }
    }
}
