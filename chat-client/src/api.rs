//! Package `chat.v1`: messages, and for each service a client and a server trait, generated from the files under
//! `proto/`, whose comments document them.
#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("chat.v1");

/// The compiled `.proto` files of the package as an encoded `google.protobuf.FileDescriptorSet`, as server reflection
/// wants them.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/chat_v1_descriptor.bin"));
