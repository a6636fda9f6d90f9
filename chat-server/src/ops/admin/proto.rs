//! Package `chat.admin.v1`, generated; the `.proto` file documents it.
#![allow(missing_docs, unreachable_pub, clippy::all)]

use std::fmt;

tonic::include_proto!("chat.admin.v1");

impl fmt::Debug for CreateAccountRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateAccountRequest")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ResetPasswordRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetPasswordRequest")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
