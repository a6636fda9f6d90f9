//! Package `chat.v1`: messages, and for each service a client and a server trait, generated from the files under
//! `proto/`, whose comments document them.
#![allow(missing_docs, unreachable_pub, clippy::all)]

use std::fmt;

tonic::include_proto!("chat.v1");

/// Prints messages without the secrets in them.
macro_rules! without_secrets {
    ($($message:ident { $($shown:ident),* },)+) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($shown), &self.$shown))*
                    .finish_non_exhaustive()
            }
        })+
    };
}

without_secrets! {
    RegisterRequest { request_id, username },
    LoginRequest { request_id, username },
    LoginResponse { account, expire_time_ms, durability, read_token },
    ChangePasswordRequest { request_id },
    DeleteAccountRequest { request_id },
}

/// The compiled `.proto` files of the package as an encoded `google.protobuf.FileDescriptorSet`, as server reflection
/// wants them.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/chat_v1_descriptor.bin"));
