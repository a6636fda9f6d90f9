//! Package `chat.admin.v1`, generated; the `.proto` file documents it.
#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("chat.admin.v1");
