//! Decoders that nobody else may call, for the fuzzer.

pub use crate::disk_store::fuzz_entry as log_entry;
pub use crate::grpc::fuzz_message as peer_message;
