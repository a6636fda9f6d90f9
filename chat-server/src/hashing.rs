//! Password hashing, off the threads that serve and no more at once than the machine can bear.

use std::sync::Arc;

use chat_core::password::{self, HashError, Params, Password, PasswordHash};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::clock;
use crate::error::Failure;

/// So many may wait for each worker: more would wait longer than anybody does for an answer.
const WAITING_PER_WORKER: usize = 32;

/// A bounded pool of workers.
pub(crate) struct Hashing {
    workers: Arc<Semaphore>,
    /// Workers and places to wait.
    places: Arc<Semaphore>,
    cost: Params,
    /// Passwords that were worked on, which is what an answer's time shows.
    count: Counter,
}

impl Hashing {
    pub(crate) fn new(workers: usize, cost: Params, count: Counter) -> Hashing {
        Hashing {
            count,
            workers: Arc::new(Semaphore::new(workers)),
            places: Arc::new(Semaphore::new(workers * (1 + WAITING_PER_WORKER))),
            cost,
        }
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
        // Neither semaphore is ever closed.
        let worker = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(|_| Failure::ShuttingDown)?;
        self.count.inc();
        let done = spawn_blocking(move || {
            let result = work();
            // Held to the end of the work, also when its caller has gone.
            drop((worker, place));
            result
        });
        done.await
            .map_err(|error| Failure::Internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_flood_is_refused_and_does_not_wait_for_ever() {
        let hashing = Arc::new(Hashing::new(1, Params::default(), Counter::default()));
        let (release, wait) = mpsc::channel::<()>();
        let busy = tokio::spawn({
            let hashing = Arc::clone(&hashing);
            async move { hashing.run(move || wait.recv()).await }
        });
        while hashing.workers.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
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
