//! One load generator for this service and for what one would use instead, and for how this one's cost grows.
//!
//! Every system is driven by the same [closed loop](closed_loop), so that the client's cost is of the same kind everywhere:
//! so many senders, each with one message under way. What is measured is written as one JSON line. The scripts `run` and
//! `growth` beside this package start the servers and call this program.

mod arguments;
mod closed_loop;
mod growth;
mod latencies;
mod machine;
mod outcome;
mod peers;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Job};
use outcome::Outcome;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads)
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(perform(arguments.job));
            // Tasks of client libraries are not waited for.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            outcome::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn perform(job: Job) -> Outcome {
    match job {
        Job::Send(send) => peers::send(&send).await,
        Job::Prepare(peer) => peers::prepare(&peer).await,
        Job::Leader(peer) => peers::leader(&peer).await,
        Job::Holds(peer) => peers::holds(&peer).await,
        Job::Echo { listen } => peers::echo::serve(listen).await,
        Job::Accounts(accounts) => peers::ours::accounts::make(&accounts).await,
        Job::Status { targets } => peers::ours::status(&targets).await,
        Job::Serving(serving) => growth::serving::wait(&serving).await,
        Job::History(history) => growth::history::read(&history).await,
        Job::Subscribers(subscribers) => growth::subscribers::idle(&subscribers).await,
    }
}
