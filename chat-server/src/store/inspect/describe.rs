//! Entries of the log in words.

use chat_core::{Command, CommandBody, DeleteScope};
use chat_replication::types::{Configuration, Payload, ReplicaId, ViewStart};

/// Whether the text shows what people wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bodies {
    /// How long it is.
    Hidden,
    /// The text, with what could steer a terminal escaped.
    Shown,
}

/// An entry's payload in one line.
pub(super) fn payload(payload: &Payload, bodies: Bodies) -> String {
    match payload {
        Payload::Command(bytes) => command(bytes, bodies),
        Payload::Reproposed {
            origin, command, ..
        } => {
            format!(
                "again, first at {origin}: {}",
                self::command(command, bodies)
            )
        }
        Payload::ViewStart(start) => view_start(start),
    }
}

/// A command in one line. Neither hashes nor, unless they are wanted, what people wrote.
pub(super) fn command(bytes: &[u8], bodies: Bodies) -> String {
    match Command::decode(bytes) {
        Ok(command) => format!(
            "{} (request {}, at {})",
            body(&command.body, bodies),
            command.request,
            command.at
        ),
        Err(reason) => format!("{} bytes that are no command: {reason}", bytes.len()),
    }
}

fn body(body: &CommandBody, bodies: Bodies) -> String {
    match body {
        CommandBody::CreateAccount { name, .. } => format!("create account {name}"),
        CommandBody::ChangePassword { account, .. } => format!("change password of {account}"),
        CommandBody::DeleteAccount { account } => format!("delete account {account}"),
        CommandBody::OpenSession { account, .. } => format!("open session of {account}"),
        CommandBody::CloseSession { account, session } => {
            format!("close session {session} of {account}")
        }
        CommandBody::CloseAllSessions { account, except } => match except {
            Some(except) => format!("close all sessions of {account} but {except}"),
            None => format!("close all sessions of {account}"),
        },
        CommandBody::Send {
            sender,
            recipient,
            body,
        } => {
            let text = body.as_str();
            let text = match bodies {
                Bodies::Hidden => format!("{} bytes", text.len()),
                // Escaped: what people write must not steer the terminal.
                Bodies::Shown => format!("{text:?}"),
            };
            format!("send from {sender} to {recipient}: {text}")
        }
        CommandBody::MarkDelivered { account, messages } => {
            format!("mark {} delivered to {account}", count(messages.len()))
        }
        CommandBody::MarkRead { account, messages } => {
            format!("mark {} read by {account}", count(messages.len()))
        }
        CommandBody::ReadThrough {
            account,
            peer,
            message,
        } => format!("mark all from {peer} read by {account}, up to message {message}"),
        CommandBody::DeleteMessages {
            account,
            messages,
            scope,
        } => {
            let whom = match scope {
                DeleteScope::ForMe => "themselves",
                DeleteScope::ForBoth => "both sides",
            };
            let messages = count(messages.len());
            format!("delete {messages} by {account} for {whom}")
        }
        CommandBody::Expire { before, limit } => {
            format!("forget what is older than {before}, {limit} rows at most")
        }
    }
}

fn count(messages: usize) -> String {
    match messages {
        1 => "1 message".to_owned(),
        messages => format!("{messages} messages"),
    }
}

/// A view start in one line.
pub(super) fn view_start(start: &ViewStart) -> String {
    let forced = match start.forced {
        true => ", forced",
        false => "",
    };
    format!(
        "view start: members {}; {}{forced}",
        ids(start.members.iter().copied()),
        configuration(&start.configuration)
    )
}

fn configuration(configuration: &Configuration) -> String {
    let removed = match configuration.removed.as_slice() {
        [] => String::new(),
        removed => format!(", removed {}", ids(removed.iter().map(|member| member.id))),
    };
    format!(
        "replicas {}{removed}, {} mode",
        ids(configuration.members.iter().map(|member| member.id)),
        configuration.mode
    )
}

pub(super) fn ids(ids: impl Iterator<Item = ReplicaId>) -> String {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    ids.join(" ")
}

#[cfg(test)]
mod tests {
    use chat_core::{AccountId, Body, RequestId, Timestamp};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_people_wrote_is_shown_only_if_wanted_and_never_raw() {
        let account = AccountId::from_uuid(Uuid::from_u128(7));
        let bytes = Command {
            request: RequestId::from_parts(Timestamp::from_millis(1), [1; 10]),
            at: Timestamp::from_millis(1),
            body: CommandBody::Send {
                sender: account,
                recipient: account,
                body: Body::parse("secret \u{1b}[2J", Body::DEFAULT_LIMIT).expect("short enough"),
            },
        }
        .encode();
        let hidden = command(&bytes, Bodies::Hidden);
        assert!(hidden.contains(": 11 bytes (request"), "{hidden}");
        let shown = command(&bytes, Bodies::Shown);
        assert!(shown.contains(r#""secret \u{1b}[2J""#), "{shown}");
        let garbled = command(&[9, 9], Bodies::Shown);
        assert!(
            garbled.starts_with("2 bytes that are no command"),
            "{garbled}"
        );
    }
}
