//! The interactive session: messages arrive while one types.
//!
//! One task takes a line at a time and does what it says; another prints what happens. Both write through one screen. With
//! an input that is no terminal the same lines are read and written plainly.

mod act;
mod input;
mod line;
mod listen;
mod post;
mod screen;
mod state;

use std::io::IsTerminal;

use super::commands::ask_everybody;
use super::context::Context;
use super::failure::Failure;
use super::show;
use super::text::harmless_lines;
use crate::reason::Reason;
use act::{Actor, Flow};
use line::Line;
use screen::Screen;

pub(super) async fn run(context: Context) -> Result<(), Failure> {
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let (input, screen) = match interactive {
        true => input::terminal().map_err(|e| Failure::Other(format!("no terminal: {e}")))?,
        false => (input::plain(), Screen::plain()),
    };
    let client = context.client.clone();
    let mut actor = Actor::new(context, input, screen.clone());
    let told = tokio::spawn(listen::client_events(
        client.events(),
        actor.outgoing(),
        screen.clone(),
    ));
    if interactive {
        actor.greet();
    }
    // Learns which replica is at which address, so that a switch can be told by their numbers.
    let learning = tokio::spawn(async move { ask_everybody(&client).await });
    actor.start_listening().await;
    let result = converse(&mut actor, &screen).await;
    learning.abort();
    actor.stop().await;
    told.abort();
    screen.close().await;
    result
}

async fn converse(actor: &mut Actor, screen: &Screen) -> Result<(), Failure> {
    loop {
        let prompt = actor.prompt();
        let line = tokio::select! {
            line = actor.input.line(&prompt) => line,
            () = screen.closed() => return Err(Failure::OutputClosed),
            _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted),
        };
        let Some(line) = line else {
            return Ok(());
        };
        let flow = tokio::select! {
            flow = actor.act(Line::parse(&line)) => Some(flow),
            () = screen.closed() => return Err(Failure::OutputClosed),
            _ = tokio::signal::ctrl_c() => None,
        };
        match flow {
            Some(Ok(Flow::GoOn)) => {}
            Some(Ok(Flow::Quit)) => return Ok(()),
            Some(Err(failure)) => complain(screen, &failure),
            None => actor.interrupted(),
        }
    }
}

fn complain(screen: &Screen, failure: &Failure) {
    let log_in = "log in with /login NAME, or register with /register NAME";
    let advice = match failure {
        Failure::NotLoggedIn => Some(log_in),
        Failure::Client(error) => match error.reason() {
            Some(Reason::Unauthenticated | Reason::SessionExpired) => Some(log_in),
            _ => failure.advice(),
        },
        Failure::Usage(_) => Some("/help lists the commands"),
        _ => failure.advice(),
    };
    screen.say(&format!("error: {}", harmless_lines(&failure.to_string())));
    if let Some(advice) = advice {
        screen.say(&format!("  next: {advice}"));
    }
}
