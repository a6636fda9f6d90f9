//! The `chat-client` program.

fn main() -> std::process::ExitCode {
    chat_client::cli::main()
}
