//! Compiles the protocol between replicas. protox is a protobuf compiler in Rust, so that building needs no `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let descriptors = protox::compile(["chat/replication/v1/peer_service.proto"], ["proto"])?;
    // Commands are handed on as slices of what the network delivered.
    tonic_prost_build::configure()
        .bytes(".chat.replication.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
