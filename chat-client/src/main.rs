//! The `chat-client` program.

fn main() {}
