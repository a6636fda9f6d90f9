//! The terminal interface: conversations, a timeline, a line to write in, and how the cluster is.
//!
//! [`App`] is all of it but the terminal. What is shown is a pure model, into which go keys, events and answers, and out of
//! which come requests; it is drawn anew after each of them.

mod app;
mod model;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;

use super::context::Context;
use super::failure::Failure;
use super::output::note;
use super::signals::Termination;
use crate::types::LoggedIn;
use app::Keep;
use model::Me;
use terminal::Screen;

pub use app::{App, Keyboard};
pub use model::{Line, LineState, Side, StoredOn};

/// Runs until the user leaves.
pub(super) async fn run(context: Context) -> Result<(), Failure> {
    let no_terminal = |error| Failure::Other(format!("the terminal cannot be used: {error}"));
    let mut termination = Termination::listen().map_err(no_terminal)?;
    let root = context.outbox_root();
    let me = context.me().map(|(id, name)| Me { id, name });
    let client = context.client.clone();
    let mut screen = Screen::enter().map_err(no_terminal)?;
    let keep = Box::new(KeepIn(context));
    let mut app = App::with(client, me, Path::new(&root), Screen::size(), keep).await;
    screen.read(app.teller());
    let result = converse(&mut app, &mut screen, &mut termination).await;
    // The terminal is given back first: what follows may take a moment.
    drop(screen);
    let waiting = app.waiting();
    app.close().await;
    if waiting > 0 {
        let root = root.display();
        note(&format!(
            "{waiting} not sent yet; kept in {root} and sent when this account is opened again"
        ));
    }
    result
}

async fn converse(
    app: &mut App,
    screen: &mut Screen,
    termination: &mut Termination,
) -> Result<(), Failure> {
    while !app.is_over() {
        screen.draw(app).map_err(Failure::Output)?;
        tokio::select! {
            () = app.turn() => {}
            () = termination.asked_for() => return Err(Failure::Interrupted),
        }
    }
    Ok(())
}

/// Keeps sessions where the other commands find them.
struct KeepIn(Context);

impl Keep for KeepIn {
    fn logged_in(&mut self, session: &LoggedIn) -> Result<(), String> {
        self.0.logged_in(session).map_err(|f| f.to_string())
    }

    fn logged_out(&mut self) -> Result<(), String> {
        self.0.logged_out().map_err(|f| f.to_string())
    }
}

impl Drop for KeepIn {
    fn drop(&mut self) {
        // How much was seen is a convenience for the next command, and the user has left.
        let _ = self.0.remember();
    }
}
