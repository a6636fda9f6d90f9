//! A program that somebody sits at: takes what is to be written, and tells what it displays.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A program that runs in a task of its own.
pub(crate) struct Seat {
    pub(crate) display: Display,
    task: JoinHandle<()>,
}

#[derive(Clone)]
pub(crate) struct Display {
    pub(crate) name: String,
    orders: mpsc::UnboundedSender<String>,
    shown: Arc<Mutex<Shown>>,
}

/// What a program displays.
#[derive(Default)]
pub(crate) struct Shown {
    /// The messages that the service has, in the order in which they are displayed.
    pub(crate) bodies: Vec<String>,
    /// The messages that wait to be sent, where they are displayed.
    pub(crate) pending: Vec<String>,
    /// What is wrong, if anything is.
    pub(crate) problem: Option<String>,
    /// Whether each message is displayed with the last state it is to come to.
    pub(crate) is_settled: bool,
}

impl Seat {
    /// Runs a program, which ends when its orders do.
    pub(crate) fn taken<P>(
        name: String,
        program: impl FnOnce(mpsc::UnboundedReceiver<String>, Arc<Mutex<Shown>>) -> P,
    ) -> Seat
    where
        P: Future<Output = ()> + Send + 'static,
    {
        let (orders, taken) = mpsc::unbounded_channel();
        let shown = Arc::new(Mutex::new(Shown::default()));
        let task = tokio::spawn(program(taken, Arc::clone(&shown)));
        let display = Display {
            name,
            orders,
            shown,
        };
        Seat { display, task }
    }

    /// Ends the program. Returns what it displayed.
    pub(crate) async fn leave(self) -> Vec<String> {
        let Display { orders, shown, .. } = self.display;
        drop(orders);
        self.task.await.unwrap();
        std::mem::take(&mut shown.lock().unwrap().bodies)
    }
}

impl Display {
    pub(crate) fn write(&self, body: &str) {
        self.check();
        self.orders.send(body.to_owned()).unwrap();
    }

    /// How many messages are displayed with their last state.
    pub(crate) fn count(&self) -> usize {
        let shown = self.shown.lock().unwrap();
        if shown.is_settled {
            shown.bodies.len()
        } else {
            0
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.shown.lock().unwrap().is_settled
    }

    /// Nothing wrong was displayed so far.
    pub(crate) fn check(&self) {
        if let Some(problem) = &self.shown.lock().unwrap().problem {
            panic!("{}: {problem}", self.name);
        }
    }
}
