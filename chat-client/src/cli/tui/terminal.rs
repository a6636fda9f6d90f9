//! The real terminal: entered, read from, drawn on, and always given back.

use std::io::{self, Stdout, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange, Event,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use tokio::sync::mpsc;

use super::app::{App, News};
use super::model::{Focus, Input};

/// How long the thread that reads keys may take to notice that nobody wants them any more.
const POLL: Duration = Duration::from_millis(100);

/// Whether the terminal is ours, and to be given back.
static IS_ENTERED: AtomicBool = AtomicBool::new(false);
/// Whether something panicked, and the terminal was given back because of it.
static HAS_PANICKED: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// The terminal, for as long as it lives.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    is_wanted: Arc<AtomicBool>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        IS_ENTERED.store(true, Ordering::SeqCst);
        let entered = execute!(
            stdout(),
            EnterAlternateScreen,
            EnableBracketedPaste,
            EnableFocusChange
        )
        .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match entered {
            Ok(terminal) => Ok(Self {
                terminal,
                is_wanted: Arc::new(AtomicBool::new(true)),
            }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Columns and rows.
    pub(super) fn size() -> (u16, u16) {
        size().unwrap_or((80, 24))
    }

    /// Reads keys from now on, in a thread of its own.
    pub(super) fn read(&self, teller: mpsc::UnboundedSender<News>) {
        let is_wanted = Arc::clone(&self.is_wanted);
        std::thread::spawn(move || {
            while is_wanted.load(Ordering::SeqCst) {
                let event = match event::poll(POLL) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                // Without a terminal there is nothing to read any more.
                let Ok(event) = event else { return };
                if let Some(input) = input(event)
                    && teller.send(News::Input(input)).is_err()
                {
                    return;
                }
            }
        });
    }

    pub(super) fn draw(&mut self, app: &mut App) -> io::Result<()> {
        if HAS_PANICKED.load(Ordering::SeqCst) {
            return Err(io::Error::other("a part of the program failed; see above"));
        }
        if app.take_redraw() {
            self.terminal.clear()?;
        }
        self.terminal.draw(|frame| app.draw(frame))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.is_wanted.store(false, Ordering::SeqCst);
        restore();
    }
}

/// Gives the terminal back as it was. Does nothing the second time.
fn restore() {
    if !IS_ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    // As much as still works: the terminal may be gone.
    let _ = disable_raw_mode();
    let _ = execute!(
        stdout(),
        DisableFocusChange,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        Show
    );
}

/// A panic in any thread gives the terminal back before it is told of.
fn restore_on_panic() {
    HOOK.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if IS_ENTERED.load(Ordering::SeqCst) {
                HAS_PANICKED.store(true, Ordering::SeqCst);
                restore();
            }
            tell(panic);
        }));
    });
}

fn input(event: Event) -> Option<Input> {
    Some(match event {
        Event::Key(key) => Input::Key(key),
        Event::Paste(text) => Input::Paste(text),
        Event::Resize(columns, rows) => Input::Resize(columns, rows),
        Event::FocusGained => Input::Focus(Focus::Here),
        Event::FocusLost => Input::Focus(Focus::Elsewhere),
        Event::Mouse(_) => return None,
    })
}
