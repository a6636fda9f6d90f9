//! `chat-server`, for tests of server and client together.

use std::process::ExitCode;

fn main() -> ExitCode {
    chat_server::cli::main()
}
