//! Package `chat.replication.v1`, generated; the `.proto` file documents it.
#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("chat.replication.v1");
