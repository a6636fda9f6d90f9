//! Accounts, sessions and messages of a chat service, as pure logic.
//!
//! [`AccountManager`] is a state machine: [`apply`](AccountManager::apply) takes a [`Command`] and gives an
//! [`Outcome`] or a [`Rejection`], and queries look at the state between commands. There is no clock in here, no
//! randomness, no I/O and no thread. Time, ids, salts and hashes arrive inside commands, so that replicas that apply
//! the same commands in the same order are in the same state.
//!
//! ```
//! use chat_core::{
//!     AccountManager, Body, Command, CommandBody, HistoryFrom, Outcome, RequestId, SessionCheck, SessionPolicy,
//!     Timestamp, TokenHash, Username,
//!     password::{self, Params, Password},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut manager = AccountManager::new();
//! // The embedder has a clock and randomness; this one has a counter.
//! let mut count = 0;
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let mut command = |body| {
//!     count += 1;
//!     Command { request: RequestId::from_parts(now, [count; 10]), at: now, body }
//! };
//!
//! // Register Ada and Bob.
//! # let cheap = Params { memory: 16, passes: 1, lanes: 1 };
//! let mut ids = Vec::new();
//! for typed in ["Ada", "Bob"] {
//!     let name = Username::parse(typed)?;
//!     let password = Password::parse("correct horse battery staple")?;
//!     let password = password::hash(&password, &[7; 16], &Params::default())?;
//! #   let password = password::hash(&Password::parse("correct horse battery staple")?, &[7; 16], &cheap)?;
//!     let register = command(CommandBody::CreateAccount { skeleton: name.skeleton(), name, password });
//!     let Ok(applied) = manager.apply(register);
//!     let Outcome::AccountCreated { account, .. } = applied.result? else { unreachable!() };
//!     ids.push(account);
//! }
//! let [ada, bob] = ids[..] else { unreachable!() };
//!
//! // Ada logs in: verify the password, then open a session for whoever knows its secret.
//! let Ok(found) = manager.account_by_name(&Username::parse_existing("ADA")?);
//! let Ok(credentials) = manager.credentials(found.ok_or("there is no such account")?.id);
//! let credentials = credentials.ok_or("the account was deleted")?;
//! assert!(password::verify(&Password::parse("correct horse battery staple")?, &credentials.hash));
//! let token = TokenHash::from_bytes([1; 32]); // SHA-256 of a random secret
//! let login = command(CommandBody::OpenSession {
//!     account: ada,
//!     token,
//!     verified: credentials.version,
//!     expires_at: now.saturating_add(std::time::Duration::from_secs(3600)),
//!     policy: SessionPolicy::Single,
//! });
//! let Ok(applied) = manager.apply(login);
//! let Outcome::SessionOpened { session, .. } = applied.result? else { unreachable!() };
//! let Ok(check) = manager.verify_session(session, &token, now);
//! assert!(matches!(check, SessionCheck::Valid(session) if session.account == ada));
//!
//! // Ada writes to Bob. The answer was lost, so her client sends the same request again.
//! let body = Body::parse("Hello, Bob", Body::DEFAULT_LIMIT)?;
//! let send = command(CommandBody::Send { sender: ada, recipient: bob, body });
//! let Ok(first) = manager.apply(send.clone());
//! let Ok(again) = manager.apply(send);
//! assert_eq!(first.result, again.result);
//! assert_eq!(first.events.len(), 2); // one for each of them
//! assert!(again.events.is_empty());
//!
//! // Bob has it once.
//! let Ok(inbox) = manager.inbox(bob, None, 50);
//! assert_eq!(inbox.items.len(), 1);
//! let Ok(history) = manager.history(bob, ada, HistoryFrom::Newest, 50);
//! assert_eq!(history.items[0].sender.name.as_str(), "ada");
//! # Ok(())
//! # }
//! ```
//!
//! # State
//!
//! The state is rows in a [`KeyValue`] store: [`MemoryStore`] for tests and small embedders, or anything ordered, as
//! large as its disk. The manager itself holds a few counters. No command and no query costs more because more is
//! stored: each touches a bounded number of rows, lists come in [pages](Page), and what would take long, such as
//! clearing up after a deleted account, is done piece by piece by [`CommandBody::Expire`].
//!
//! A message is five rows. Its text is written once, by its id, which begins with the time, so that new messages stand
//! behind old ones. In the conversation of the two, its id stands with one byte that says who has read it and who has
//! deleted it. The id waits in the recipient's inbox until the message is delivered. The conversation's counters and the
//! manager's own are rows that are written over. When a conversation was not the last that somebody was active in, it
//! moves in that one's list as well.
//!
//! [`AccountManager::state_hash`] sums up the hashes of all rows, and is kept up with every row that changes, so that
//! replicas can compare their states at any time.
//!
//! # Requests, once
//!
//! The client mints a [`RequestId`] per request, a UUIDv7, and repeats it with every retry. All ids that the request
//! creates [derive](MessageId::derive) from it. A request that was accepted is not carried out again: its retry gets
//! the original outcome. The same id with other content is [refused](Rejection::RequestIdReused). What counts as content
//! is what the client wrote, without passwords; what the edge added, such as the time, may differ. A refused request
//! left nothing behind and may be retried.
//!
//! Retries are recognised for [30 days](Command::REQUEST_WINDOW). Older requests are
//! [refused](Rejection::RequestTooOld), measured by the command's own time, and `Expire` forgets them.
//!
//! # Merging
//!
//! After two branches of history have met, the commands of the one that lost are applied to the state of the other by
//! [`apply_reproposed`](AccountManager::apply_reproposed). They name accounts, sessions and messages by id only. What they
//! say of "all", or of everything up to something, they say of what their author can have known: each comes with its
//! [`Lineage`], which tells what stood before it on its own branch. Where that is not known, less is touched: a message may
//! show as unread twice, but none counts as read that nobody was shown. And each has a rule for a state that it did not
//! expect:
//!
//! | command | when it meets a state it did not expect |
//! |---|---|
//! | create account | The name is taken on the other branch, or looks like one that is: the account lives on as `name~xxxx`, with its sessions, and a [notice](Notice::Renamed) in its inbox says so. The account was deleted already: refused. |
//! | change password | The greatest (time, request id) wins, and closes all sessions of other passwords, seen or not. |
//! | open session | The password is another by now: refused. The session, or all sessions, were closed after it was opened: refused. Of the other sessions it replaces those that its branch had. |
//! | close all sessions | Closes those that its branch had. |
//! | send | The message is there: the original outcome. It was deleted: it stays deleted. Sender or recipient left on the other branch: the message is there for the one that is left. |
//! | mark delivered, mark read | A union of sets. A message that is not known yet is marked when it comes. |
//! | read through a message | Reads what stood up to that message on its own branch. What came from the other one stays unread, wherever it stands here. |
//! | delete a message, a session, an account | Wins over everything, in any order, and twice is once. |
//! | expire | Nothing: this branch sees to its own. |
//!
//! A registration by a client, on the other hand, is simply refused when the name is taken. What its own branch refused for
//! a name, a password or an account that was gone there, a merge refuses again.
//!
//! # What is not here
//!
//! Who may ask for what: the edge takes the account from the session, and checks limits on length and rate. Who is
//! online: that is not part of the state. Delivery: [`Event`]s say what happened, and somebody else knows who listens.
//! Order among replicas, durability, snapshots: the replicated log and the store see to these.

mod command;
mod event;
#[cfg(fuzzing)]
pub mod fuzzing;
mod lineage;
mod manager;
mod message;
mod outcome;
pub mod password;
mod pattern;
mod query;
mod rejection;
mod rows;
pub mod store;
mod values;

pub use crate::{
    command::{Command, CommandBody, DecodeError, DeleteScope, SessionPolicy},
    event::{CloseReason, Event, EventKind},
    lineage::Lineage,
    manager::{AccountManager, OpenError},
    message::{
        AccountStatus, Content, Conversation, ConversationCursor, Message, MessageState, Notice,
        Profile, Sequence, Session,
    },
    outcome::{Applied, Outcome, Progress},
    pattern::{Pattern, PatternError},
    query::{Census, Credentials, HistoryFrom, MAX_PAGE, Page, SessionCheck, StateHash, Stats},
    rejection::Rejection,
    store::{KeyValue, MemoryStore},
    values::{
        body::{Body, BodyError},
        id::{AccountId, IdError, MessageId, RequestId, SessionId},
        name::{NameError, Skeleton, Username},
        secret::{CredentialVersion, TokenHash},
        time::Timestamp,
    },
};

/// The version of what applying a command does. Replicas that apply the same log by different versions may drift apart,
/// so it grows whenever an effect changes.
pub const APPLY_VERSION: u32 = 2;

/// How rows are written: the only format that this version reads.
pub const ROW_FORMAT: u32 = rows::meta::Meta::FORMAT;
