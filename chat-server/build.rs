//! Compiles the operators' API. protox is a protobuf compiler in Rust, so that building needs no `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let descriptors = protox::compile(["chat/admin/v1/admin_service.proto"], ["proto"])?;
    let mut config = tonic_prost_build::Config::new();
    // They hold passwords, which nothing is to print.
    config.skip_debug([
        ".chat.admin.v1.CreateAccountRequest",
        ".chat.admin.v1.ResetPasswordRequest",
    ]);
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}
