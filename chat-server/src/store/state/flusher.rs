//! The thread that writes checkpoints.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use super::error::StateError;
use super::file::StateFile;
use super::overlay::Frozen;

/// Writes one frozen overlay at a time. Dropped, it waits for the one under way.
#[derive(Debug)]
pub(super) struct Flusher {
    jobs: Option<Sender<Job>>,
    results: Receiver<Result<(), StateError>>,
    thread: Option<JoinHandle<()>>,
    busy: bool,
}

#[derive(Debug)]
enum Job {
    Write(Arc<Frozen>),
    /// Freeing a hundred thousand rows would hold up whoever does it.
    Free(Arc<Frozen>),
}

impl Flusher {
    pub(super) fn start(file: Arc<StateFile>) -> io::Result<Flusher> {
        let (jobs, incoming) = channel();
        let (outgoing, results) = channel();
        let work = move || {
            for job in incoming {
                match job {
                    Job::Write(frozen) => {
                        if outgoing.send(file.write(&frozen)).is_err() {
                            return;
                        }
                    }
                    Job::Free(frozen) => drop(frozen),
                }
            }
        };
        let thread = thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(work)?;
        Ok(Flusher {
            jobs: Some(jobs),
            results,
            thread: Some(thread),
            busy: false,
        })
    }

    /// Whether an overlay is being written, or was and has not been asked for.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    pub(super) fn write(&mut self, frozen: Arc<Frozen>) {
        assert!(!self.busy, "one checkpoint at a time");
        self.busy = true;
        self.send(Job::Write(frozen));
    }

    pub(super) fn free(&self, frozen: Arc<Frozen>) {
        self.send(Job::Free(frozen));
    }

    /// How writing ended, once it has.
    pub(super) fn poll(&mut self) -> Option<Result<(), StateError>> {
        if !self.busy {
            return None;
        }
        match self.results.try_recv() {
            Ok(result) => {
                self.busy = false;
                Some(result)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("{GONE}"),
        }
    }

    /// How writing ended; waits for it.
    pub(super) fn wait(&mut self) -> Option<Result<(), StateError>> {
        if !self.busy {
            return None;
        }
        self.busy = false;
        Some(self.results.recv().expect(GONE))
    }

    fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("jobs are taken only until drop");
        jobs.send(job).expect(GONE);
    }
}

/// Writing contains redb's panics, and does nothing else that could.
const GONE: &str = "the checkpoint thread lives as long as its owner";

impl Drop for Flusher {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked, and there would be nothing to do about it.
            let _ = thread.join();
        }
    }
}
