//! Password hashing, off the threads that serve and no more at once than the machine can bear.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use chat_core::password::{self, HashError, Params, Password, PasswordHash};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Semaphore, oneshot};

use crate::app::error::Failure;
use crate::clock;

/// So many may wait for each worker: more would wait longer than anybody does for an answer.
const WAITING_PER_WORKER: usize = 32;

/// A bounded pool of workers: threads of their own, since a thread that has hashed once keeps memory for it.
pub(crate) struct Hashing {
    /// Never blocks whoever has a place.
    work: Sender<Work>,
    /// Workers and places to wait.
    places: Arc<Semaphore>,
    cost: Params,
    /// Passwords that were worked on, which is what an answer's time shows.
    count: Counter,
}

type Work = Box<dyn FnOnce() + Send>;

impl Hashing {
    /// Starts the workers, which end with the pool.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub(crate) fn new(workers: usize, cost: Params, count: Counter) -> io::Result<Hashing> {
        let (work, waiting) = mpsc::channel::<Work>();
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..workers {
            let waiting = Arc::clone(&waiting);
            let worker = thread::Builder::new().name(format!("passwords-{number}"));
            worker.spawn(move || {
                // The lock is held while waiting, not while working.
                while let Ok(work) = next(&waiting) {
                    work();
                }
            })?;
        }
        Ok(Hashing {
            work,
            places: Arc::new(Semaphore::new(workers * (1 + WAITING_PER_WORKER))),
            cost,
            count,
        })
    }

    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, Failure> {
        let cost = self.cost;
        let hashed = self
            .run(move || password::hash(&password, &clock::random(), &cost))
            .await?;
        hashed.map_err(|error: HashError| Failure::Internal(error.to_string()))
    }

    pub(crate) async fn verify(
        &self,
        password: Password,
        hash: PasswordHash,
    ) -> Result<bool, Failure> {
        self.run(move || password::verify(&password, &hash)).await
    }

    /// As much work as [`Hashing::verify`], for an account that is not there.
    pub(crate) async fn verify_absent(&self, password: Password) -> Result<bool, Failure> {
        let cost = self.cost;
        self.run(move || password::verify_absent(&password, &cost))
            .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(Failure::Overloaded(
                "too many passwords are being checked at this moment: try again",
            ));
        };
        self.count.inc();
        let (done, result) = oneshot::channel();
        let work = move || {
            // A defect in one is no reason for the others to go without a worker.
            let result = catch_unwind(AssertUnwindSafe(work));
            // Held to the end of the work, also when its caller has gone.
            drop(place);
            let _ = done.send(result);
        };
        let failed = || Failure::Internal("hashing a password failed".to_owned());
        self.work.send(Box::new(work)).map_err(|_| failed())?;
        match result.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(failed()),
        }
    }
}

fn next(waiting: &Mutex<Receiver<Work>>) -> Result<Work, RecvError> {
    waiting
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_is_refused_and_does_not_wait_for_ever() {
        let hashing =
            Arc::new(Hashing::new(1, Params::default(), Counter::default()).expect("threads"));
        let (release, wait) = mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let busy = tokio::spawn({
            let hashing = Arc::clone(&hashing);
            async move {
                let work = move || {
                    let _ = begun.send(());
                    wait.recv()
                };
                hashing.run(work).await
            }
        });
        begins.await.expect("it begins");
        let waiting: Vec<_> = (0..WAITING_PER_WORKER)
            .map(|_| {
                let hashing = Arc::clone(&hashing);
                tokio::spawn(async move { hashing.run(|| ()).await })
            })
            .collect();
        while hashing.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(
            hashing.run(|| ()).await,
            Err(Failure::Overloaded(_))
        ));
        drop(release);
        assert!(busy.await.expect("runs").is_ok());
        for task in waiting {
            assert!(task.await.expect("runs").is_ok());
        }
        assert!(hashing.run(|| ()).await.is_ok());
    }
}
