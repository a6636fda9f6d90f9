//! The public API of the chat service, and a client for it that survives the loss of replicas.
//!
//! A cluster is a few replicas that keep the same accounts and messages. [`Client`] is given the addresses of some of
//! them and goes on as long as one is left: each attempt of a call has a deadline, after it the next replica is asked
//! under the same request id, and the service sees to it that a write takes effect once. [`Subscription`] is the stream
//! of an account's events, which goes on at another replica without a gap and without a repetition. [`Outbox`] keeps what
//! was written while nobody could be reached, and sends it once somebody can.
//!
//! ```no_run
//! # async fn example() -> Result<(), chat_client::Error> {
//! use chat_client::{Client, Event, SubscribeOptions};
//!
//! let client = Client::connect(["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"]).await?;
//! client.login("bob", "correct horse battery staple").await?;
//! let mut events = client.subscribe(SubscribeOptions::default()).await?;
//! while let Some(event) = events.next().await {
//!     if let Event::MessageReceived(message) = event? {
//!         println!("{}: {}", message.sender.name, message.body);
//!         client.send_message(&message.sender.name, "thank you").await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`api`] is the generated code, for the service itself and for clients that want to do everything on their own.
//!
//! With the feature `cli`, on by default, the crate is also the program `chat-client`. Connections are not encrypted.

pub mod api;
mod builder;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod cluster;
mod endpoint;
mod error;
mod events;
mod ids;
mod net;
mod outbox;
mod private_file;
mod reason;
mod sending;
mod session;
mod subscription;
mod timestamp;
mod tls;
mod types;

pub use builder::{Builder, Proxying};
pub use client::Client;
pub use cluster::{ClusterStatus, Leader, Mode, ReplicaStatus, Role};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{Error, GaveUp, Refusal};
pub use events::{ClientEvent, ClientEvents, Replica, Resent};
pub use ids::{
    AccountId, InvalidId, MessageId, PageToken, ReadToken, RequestId, ResumeToken, SessionId,
    SessionToken,
};
pub use outbox::{Outbox, OutboxError, OutboxEvent, OutboxEvents, OutboxMessage};
pub use reason::{ERROR_DOMAIN, Reason, UnknownReason};
pub use sending::{MessageSender, Sending};
pub use subscription::{Confirmation, Event, SubscribeOptions, Subscription};
pub use timestamp::Timestamp;
pub use tls::{TlsError, TlsSettings};
pub use types::{
    Account, Conversation, DeleteScope, Deleted, DeliveryState, Durability, LoggedIn, LogoutScope,
    Message, OpenSession, Page, PageRequest, Registered, Sent, Session,
};
