//! Checking passwords, in the same time whoever asks.

use chat_client::Reason;
use chat_core::password::Password;
use chat_core::{AccountId, CredentialVersion, Credentials, RequestId};
use tonic::{Response, Status};
use tonic_types::StatusExt;

use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::throttle::Peer;
use crate::app::throttle::Whose;

/// How often a password is checked again because it was changed in between.
pub(crate) const ATTEMPTS: u32 = 3;

/// What a check of a password came to.
pub(crate) enum Verdict {
    Right(CredentialVersion),
    /// The password in force was set by this very request: it is a retry whose answer was lost.
    SetByThisRequest(Credentials),
}

/// Lets a call look at a password, unless too many wrong ones came from the caller's address.
pub(crate) async fn guarded<T>(
    node: &Node,
    from: Option<Peer>,
    whose: Option<Whose>,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    // What names nobody is refused without a look at the password.
    let Some(whose) = whose else {
        return call.await;
    };
    let attempt = node.throttle.attempt(from, whose)?;
    let answer = call.await;
    if !answer.as_ref().is_err_and(is_wrong) {
        attempt.was_not_wrong();
    }
    answer
}

fn is_wrong(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.reason == Reason::BadCredentials.as_str())
}

/// Checks a password that somebody typed for an account, or for a name that nobody has.
pub(crate) async fn verify(
    node: &Node,
    account: Option<AccountId>,
    typed: &str,
) -> Result<CredentialVersion, Failure> {
    // What can be no password is nobody's.
    let password = Password::parse(typed).map_err(|_| Failure::BadCredentials)?;
    let credentials = match account {
        Some(account) => node
            .state
            .query(|manager, _| manager.credentials(account))?,
        None => None,
    };
    let Some(credentials) = credentials else {
        node.hashing.verify_absent(password).await?;
        return Err(Failure::BadCredentials);
    };
    match node.hashing.verify(password, credentials.hash).await? {
        true => Ok(credentials.version),
        false => Err(Failure::BadCredentials),
    }
}

/// The same for the one who changes a password by `request`.
pub(crate) async fn verify_change(
    node: &Node,
    account: AccountId,
    request: RequestId,
    old: &str,
) -> Result<Verdict, Failure> {
    let credentials = node
        .state
        .query(|manager, _| manager.credentials(account))?;
    match credentials {
        Some(credentials) if credentials.version.request() == request => {
            Ok(Verdict::SetByThisRequest(credentials))
        }
        _ => verify(node, Some(account), old).await.map(Verdict::Right),
    }
}
