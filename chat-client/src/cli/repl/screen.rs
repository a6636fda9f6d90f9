//! One place through which everything is shown, so that lines of two tasks do not mix.

use std::io::{self, Write};

use rustyline::ExternalPrinter;
use tokio::sync::{mpsc, oneshot, watch};

/// Shows lines; cheap to clone. A thread of its own does the writing, for a terminal may make it wait.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    jobs: mpsc::UnboundedSender<Job>,
    closed: watch::Receiver<Closed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    NotYet,
    Yes,
}

enum Job {
    Line(String),
    /// Answered when everything before it was written.
    Flush(oneshot::Sender<()>),
}

impl Screen {
    /// Lines go to standard output as they are.
    pub(super) fn plain() -> Self {
        Self::start(|line| {
            let mut out = io::stdout().lock();
            out.write_all(line.as_bytes())?;
            out.flush()
        })
    }

    /// Lines appear above the one that is being edited.
    pub(super) fn around_editor(mut printer: impl ExternalPrinter + Send + 'static) -> Self {
        Self::start(move |line| printer.print(line).map_err(io::Error::other))
    }

    fn start(mut write: impl FnMut(String) -> io::Result<()> + Send + 'static) -> Self {
        let (jobs, mut todo) = mpsc::unbounded_channel();
        let (closing, closed) = watch::channel(Closed::NotYet);
        std::thread::spawn(move || {
            while let Some(job) = todo.blocking_recv() {
                match job {
                    Job::Line(line) => {
                        if write(line).is_err() {
                            let _ = closing.send(Closed::Yes);
                            return;
                        }
                    }
                    Job::Flush(done) => {
                        let _ = done.send(());
                    }
                }
            }
        });
        Self { jobs, closed }
    }

    /// Shows one line, or several that belong together.
    pub(super) fn say(&self, text: &str) {
        // Fails only when the output is closed, which the main loop notices.
        let _ = self.jobs.send(Job::Line(format!("{text}\n")));
    }

    /// Returns when nobody can read the output any more.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the thread is gone, which comes to the same.
        let _ = closed.wait_for(|c| *c == Closed::Yes).await;
    }

    /// Waits until everything was written.
    pub(super) async fn close(&self) {
        let (done, written) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).is_ok() {
            let _ = written.await;
        }
    }
}
