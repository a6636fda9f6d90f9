//! The program: its commands, and what it says and returns.
//!
//! Exit codes: 0 after a clean stop, 1 after an error, 2 for a command line that cannot be understood.

mod account;
mod admin;
mod args;
mod backup;
mod children;
mod cluster;
mod compact;
mod config;
mod init;
mod inspect;
mod logging;
mod output;
mod progress;
mod run;
mod signals;
mod status;

use std::future::Future;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;

use self::args::{Args, Command};
use self::output::complain;
use crate::store::inspect::LogRange;

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    // Writes usage and mistakes itself, and exits with 0 or 2.
    let args = Args::parse();
    let done = match args.command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => block_on(run::run(args)),
        Command::Cluster(args) => block_on(cluster::run(args)),
        Command::Config(command) => config::run(&command),
        Command::Replica(command) => block_on(admin::replica(command)),
        Command::Account(command) => block_on(account::run(command)),
        Command::Status { through, json } => block_on(status::run(&through, json)),
        Command::TransferLeadership { to, through } => {
            block_on(admin::transfer_leadership(to, &through))
        }
        Command::ForceView { through } => block_on(admin::force_view(&through)),
        Command::Log {
            dir,
            from,
            limit,
            bodies,
        } => inspect::log(&dir, LogRange { from, limit }, bodies),
        Command::Verify { path, replay } => inspect::verify(&path, replay),
        Command::Compact(args) => compact::run(&args),
        Command::Backup {
            file,
            anyway,
            through,
        } => block_on(backup::take(&file, anyway, &through)),
        Command::Restore(args) => backup::restore(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&problem);
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, in words for the person at the terminal.
pub(crate) type Problem = String;

fn block_on(work: impl Future<Output = Result<(), Problem>>) -> Result<(), Problem> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            format!("cannot start threads: {error}; free memory or raise the limit of processes")
        })?;
    let done = runtime.block_on(work);
    // A task that hangs must not keep the process.
    runtime.shutdown_background();
    done
}
