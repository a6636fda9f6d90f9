//! The program `chat-client`: one command for each thing one can do, and an interactive session.
//!
//! Data goes to standard output, everything else to standard error. Passwords are never taken from the command line.

mod args;
mod bench;
mod commands;
mod context;
mod failure;
mod json;
mod output;
mod password;
mod progress;
mod repl;
mod session_file;
mod settings;
mod show;
mod signals;
mod suggest;
mod text;
pub mod tui;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime;

use args::{Args, Command};
use context::Context;
use failure::Failure;
use output::complain;
use settings::{Format, Prompts, Settings};

/// Runs the program with the arguments of the process, and returns its exit code: 0 ok, 1 error, 2 usage, 3 not found,
/// 4 authentication, 5 conflict, 6 unavailable, 7 timeout, 130 interrupted.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            return not_understood(&error);
        }
    };
    let format = args.global.format();
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&Failure::Other(format!("cannot start: {error}")), format);
            return ExitCode::from(1);
        }
    };
    let result = runtime.block_on(run(args));
    // A thread may still wait for a line of input that nobody needs any more.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure, format);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Help and version come this way, too.
fn not_understood(error: &clap::Error) -> ExitCode {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && is_json {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text).trim();
        complain(&Failure::Usage(text.to_owned()), Format::Json);
    } else {
        // Nobody is left to hear of a closed pipe.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

async fn run(args: Args) -> Result<(), Failure> {
    let settings = Settings::resolve(&args.global)?;
    let command = match args.command {
        Some(command) => command,
        None => usual(&settings)?,
    };
    // These deal with interrupts on their own.
    match command {
        Command::Repl => return repl::run(Context::connect(&settings).await?).await,
        Command::Tui => return tui::run(Context::connect(&settings).await?).await,
        _ => {}
    }
    // The command is polled first: it asks for passwords before anybody listens for the interrupt, which therefore ends
    // the program in the middle of a prompt, too.
    tokio::select! {
        biased;
        result = commands::run(command, &settings) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    }
}

/// What opens without a command: the terminal interface, or lines as they come where there is no terminal.
fn usual(settings: &Settings) -> Result<Command, Failure> {
    if settings.prompts == Prompts::Never || settings.format == Format::Json {
        return Err(Failure::Usage(
            "nothing is to be asked, and no command is given; name one".into(),
        ));
    }
    Ok(
        match std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            true => Command::Tui,
            false => Command::Repl,
        },
    )
}
