//! The terminal interface, with a terminal in memory.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chat_client::cli::tui::{App, Keyboard, Line, LineState, Side};
use chat_client::{Account, Client};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use tokio::sync::mpsc;

use crate::display::{Seat, Shown};

const SIZE: (u16, u16) = (100, 30);

/// How often somebody looks at the screen.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn sit_down(client: Client, me: Account, peer: &str, root: PathBuf) -> Seat {
    let app = App::start(client, me.id, &me.name, &root, SIZE).await;
    let keyboard = app.keyboard();
    keyboard.type_line(&format!("/to {peer}"));
    let peer = peer.to_owned();
    Seat::taken(format!("{}'s screen", me.name), |orders, shown| async {
        tokio::join!(write(keyboard, orders), run(app, peer, shown));
    })
}

async fn write(keyboard: Keyboard, mut orders: mpsc::UnboundedReceiver<String>) {
    while let Some(body) = orders.recv().await {
        keyboard.type_line(&body);
    }
    keyboard.type_line("/quit");
}

async fn run(mut app: App, peer: String, shown: Arc<Mutex<Shown>>) {
    let mut terminal = Terminal::new(TestBackend::new(SIZE.0, SIZE.1)).unwrap();
    let mut looked = Instant::now();
    while !app.is_over() {
        app.turn().await;
        if looked.elapsed() < LOOK_EVERY {
            continue;
        }
        looked = Instant::now();
        terminal.draw(|frame| app.draw(frame)).unwrap();
        let screen = terminal.backend().to_string();
        shown.lock().unwrap().look(&app.lines(&peer), &screen);
    }
    app.close().await;
}

impl Shown {
    /// Takes in what is displayed now.
    fn look(&mut self, lines: &[Line], screen: &str) {
        let stored: Vec<&Line> = lines.iter().filter(|line| line.id.is_some()).collect();
        // What was displayed before is still there, in the same order.
        let mut rest = stored.iter();
        for body in &self.bodies {
            if !rest.any(|line| line.body == *body) {
                self.problem
                    .get_or_insert(format!("{body} was lost or moved:\n{screen}"));
            }
        }
        for body in &self.pending {
            if !lines.iter().any(|line| line.body == *body) {
                self.problem
                    .get_or_insert(format!("{body} was lost while it was pending:\n{screen}"));
            }
        }
        let mut bodies: Vec<&str> = lines.iter().map(|line| line.body.as_str()).collect();
        bodies.sort_unstable();
        if let Some(twice) = bodies.windows(2).find(|pair| pair[0] == pair[1]) {
            self.problem
                .get_or_insert(format!("{} is there twice:\n{screen}", twice[0]));
        }
        if let Some(line) = lines
            .iter()
            .find(|line| matches!(line.state, LineState::Refused(_)))
        {
            self.problem.get_or_insert(format!("{line:?}"));
        }
        // The window is at the bottom, where the newest lines are.
        for line in lines.iter().rev().take(10) {
            if screen.matches(&line.body).count() != 1 {
                self.problem
                    .get_or_insert(format!("{} is not there once:\n{screen}", line.body));
            }
        }
        let mut mine = lines.iter().filter(|line| line.side == Side::Mine);
        self.is_settled = mine.all(|line| line.state == LineState::Read);
        let pending = lines.iter().filter(|line| line.id.is_none());
        self.pending = pending.map(|line| line.body.clone()).collect();
        self.bodies = stored.iter().map(|line| line.body.clone()).collect();
    }
}
