//! Compiles the public API. protox is a protobuf compiler in Rust, so that building needs no `protoc`.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::Message;

const PROTOS: [&str; 6] = [
    "chat/v1/common.proto",
    "chat/v1/auth_service.proto",
    "chat/v1/account_service.proto",
    "chat/v1/message_service.proto",
    "chat/v1/event_service.proto",
    "chat/v1/cluster_service.proto",
];

/// Messages with secrets in them, which `src/api.rs` prints without.
const SECRET: [&str; 5] = [
    ".chat.v1.RegisterRequest",
    ".chat.v1.LoginRequest",
    ".chat.v1.LoginResponse",
    ".chat.v1.ChangePasswordRequest",
    ".chat.v1.DeleteAccountRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("chat_v1_descriptor.bin"),
        descriptors.encode_to_vec(),
    )?;
    let mut config = tonic_prost_build::Config::new();
    config.skip_debug(SECRET);
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}
