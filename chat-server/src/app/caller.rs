//! Whose call it is.

use std::sync::Arc;
use std::time::Duration;

use chat_client::Reason;
use chat_core::{AccountId, AccountManager, RequestId, Session, SessionCheck};
use chat_replication::types::Position;

use super::barrier::make_sure;
use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::throttle::Place;
use crate::clock;
use crate::store::state::{StateError, StateStore};

/// Lists are read in this time, usually.
const RETRY_LIST: Duration = Duration::from_millis(100);

/// A session that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    pub(crate) session: Session,
}

impl Caller {
    pub(crate) fn account(&self) -> AccountId {
        self.session.account
    }

    /// Checks the call's session against the applied state.
    pub(crate) async fn of(node: &Node, context: &Context) -> Result<Caller, Failure> {
        if let Some(session) = context.checked.just_now(clock::now()) {
            return Ok(Caller { session });
        }
        let mut checked = check(node, context)?;
        if checked == SessionCheck::Unknown && context.session.is_some() {
            // It may have been opened a moment ago, at another replica.
            make_sure(node, context).await?;
            checked = check(node, context)?;
        }
        match checked {
            SessionCheck::Valid(session) => Ok(Caller { session }),
            SessionCheck::Expired => Err(Failure::SessionExpired),
            SessionCheck::Unknown => Err(Failure::Unauthenticated),
        }
    }

    /// The same, and counts the call. For calls that are carried out where they are made.
    pub(crate) async fn counted(node: &Node, context: &Context) -> Result<Caller, Failure> {
        let caller = Caller::of(node, context).await?;
        node.throttle.account(context.from, caller.account())?;
        Ok(caller)
    }

    /// The same for a list, whose answer is to take the place with it.
    pub(crate) async fn for_list(
        node: &Node,
        context: &Context,
    ) -> Result<(Caller, Arc<Place>), Failure> {
        let caller = Caller::counted(node, context).await?;
        let most = node.limits().lists_per_account;
        match node.lists.take(caller.account(), most) {
            Some(place) => Ok((caller, Arc::new(place))),
            None => Err(Failure::Limited {
                reason: Reason::RateLimited,
                problem: format!(
                    "this account has {most} lists under way, as many as it may have: read them first"
                ),
                wait: RETRY_LIST,
            }),
        }
    }

    /// Counts a call that is carried out elsewhere, perhaps. One whose session is not known here is not worth counting: it
    /// is refused.
    pub(crate) fn count(node: &Node, context: &Context) -> Result<Option<AccountId>, Failure> {
        if context.session.is_none() {
            return Ok(None);
        }
        let SessionCheck::Valid(session) = check(node, context)? else {
            return Ok(None);
        };
        node.throttle.account(context.from, session.account)?;
        Ok(Some(session.account))
    }

    /// Looks up whether a request that ends its own session has been carried out already, when the session is gone: its
    /// answer may have been lost. Nothing is told to anybody who does not know the request's id.
    pub(crate) fn earlier(
        node: &Node,
        context: &Context,
        request: RequestId,
    ) -> Result<Option<(chat_core::Outcome, Position)>, Failure> {
        let Some(token) = &context.session else {
            return Ok(None);
        };
        let account = token.account;
        Ok(node
            .state
            .query(|manager: &AccountManager<StateStore>, at| {
                Ok(manager
                    .outcome(account, request)?
                    .map(|outcome| (outcome, at)))
            })?)
    }
}

fn check(node: &Node, context: &Context) -> Result<SessionCheck, Failure> {
    let Some(token) = &context.session else {
        return Ok(SessionCheck::Unknown);
    };
    let now = clock::now();
    let checked: Result<_, StateError> = node.state.query(|manager, at| {
        if let Some(session) = context.checked.good(at, now) {
            return Ok(SessionCheck::Valid(session));
        }
        let checked = manager.verify_session(token.session, &token.hash(), now)?;
        Ok(match checked {
            SessionCheck::Valid(session) if session.account != token.account => {
                SessionCheck::Unknown
            }
            SessionCheck::Valid(session) => {
                context.checked.note(at, &session);
                SessionCheck::Valid(session)
            }
            checked => checked,
        })
    });
    Ok(checked?)
}
