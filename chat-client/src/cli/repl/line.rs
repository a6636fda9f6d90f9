//! What a line typed in the interactive session means.

use crate::cli::suggest::closest;

/// A line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Nothing,
    Help,
    Quit,
    Send {
        to: String,
        body: String,
    },
    /// To whomever the user talks with at the moment.
    SendHere {
        body: String,
    },
    /// Talk with somebody, or with nobody in particular.
    To(Option<String>),
    Users {
        pattern: String,
    },
    /// Of the one whom the user talks with, where nobody is named.
    History {
        peer: Option<String>,
    },
    Inbox,
    Conversations,
    Read(Target),
    Delete {
        scope: crate::types::DeleteScope,
        messages: Vec<String>,
    },
    Status,
    WhoAmI,
    Login {
        user: String,
    },
    Register {
        user: String,
    },
    Logout,
    /// What to write instead.
    Wrong(String),
}

/// What is to be marked as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// All from the one whom the user talks with.
    Here,
    /// All from somebody.
    From(String),
    /// Messages by number or id.
    Messages(Vec<String>),
}

pub(super) const HELP: &str = "\
/msg USER TEXT       send a message; so does  USER: TEXT
/to USER             talk with somebody: plain lines go there until /to alone
/users [PATTERN]     list accounts
/inbox               messages that wait
/history [USER]      a conversation
/conversations       all conversations
/read [USER | N...]  mark as read: a conversation, or messages by number or id
/delete [both] N...  delete messages by number or id, for you or for both
/status              how the replicas are
/login USER          log in
/register USER       create an account and log in
/logout              end the session
/whoami              whose session it is
/quit                leave; so does Ctrl-D
A line that begins with a space goes as it is to the one you talk with.";

const COMMANDS: [&str; 15] = [
    "conversations",
    "delete",
    "help",
    "history",
    "inbox",
    "login",
    "logout",
    "msg",
    "quit",
    "read",
    "register",
    "status",
    "to",
    "users",
    "whoami",
];

impl Line {
    pub(super) fn parse(line: &str) -> Self {
        if line.trim().is_empty() {
            return Line::Nothing;
        }
        if let Some(body) = line.strip_prefix(' ') {
            return Line::SendHere {
                body: body.trim_end().to_owned(),
            };
        }
        let line = line.trim_end();
        match line.strip_prefix('/') {
            Some(command) => parse_command(command),
            None => parse_text(line),
        }
    }
}

fn parse_text(line: &str) -> Line {
    let here = || Line::SendHere {
        body: line.to_owned(),
    };
    // A name has no spaces and no colon. A link has no space behind its colon.
    let Some((to, body)) = line.split_once(": ") else {
        return here();
    };
    if to.is_empty() || to.contains(char::is_whitespace) || body.trim().is_empty() {
        return here();
    }
    Line::Send {
        to: to.to_owned(),
        body: body.trim_start().to_owned(),
    }
}

fn parse_command(command: &str) -> Line {
    let (name, rest) = command
        .split_once(char::is_whitespace)
        .unwrap_or((command, ""));
    let rest = rest.trim();
    let words = || {
        rest.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    match name {
        "help" | "h" | "?" => Line::Help,
        "quit" | "q" | "exit" => Line::Quit,
        "msg" | "m" => match rest.split_once(char::is_whitespace) {
            Some((to, body)) => Line::Send {
                to: to.to_owned(),
                body: body.trim().to_owned(),
            },
            None => Line::Wrong("write /msg USER TEXT".into()),
        },
        "to" => one_word(
            rest,
            Line::To,
            "write /to USER, or /to alone to talk with nobody",
        ),
        "users" => Line::Users {
            pattern: rest.to_owned(),
        },
        "history" => one_word(rest, |peer| Line::History { peer }, "write /history USER"),
        "inbox" => Line::Inbox,
        "conversations" => Line::Conversations,
        "read" => Line::Read(read_target(words())),
        "delete" => delete(words()),
        "status" => Line::Status,
        "whoami" => Line::WhoAmI,
        "logout" => Line::Logout,
        "login" => match words().as_slice() {
            [user] => Line::Login { user: user.clone() },
            _ => Line::Wrong("write /login USER; the password is asked for".into()),
        },
        "register" => match words().as_slice() {
            [user] => Line::Register { user: user.clone() },
            _ => Line::Wrong("write /register USER; the password is asked for".into()),
        },
        other => Line::Wrong(match closest(other, COMMANDS) {
            Some(meant) => format!("there is no command /{other}; did you mean /{meant}?"),
            None => format!("there is no command /{other}; /help lists them"),
        }),
    }
}

fn one_word(rest: &str, line: impl FnOnce(Option<String>) -> Line, otherwise: &str) -> Line {
    if rest.contains(char::is_whitespace) {
        return Line::Wrong(otherwise.to_owned());
    }
    line((!rest.is_empty()).then(|| rest.to_owned()))
}

fn read_target(words: Vec<String>) -> Target {
    match words.as_slice() {
        [] => Target::Here,
        [word] if !names_message(word) => Target::From(word.clone()),
        _ => Target::Messages(words),
    }
}

fn delete(mut words: Vec<String>) -> Line {
    use crate::types::DeleteScope;
    let scope = match words.first().map(String::as_str) {
        Some("both") => {
            words.remove(0);
            DeleteScope::ForBoth
        }
        _ => DeleteScope::ForMe,
    };
    if words.is_empty() {
        return Line::Wrong("write /delete N, with the number before the message".into());
    }
    Line::Delete {
        scope,
        messages: words,
    }
}

/// Whether a word is a message's number or id rather than a name.
fn names_message(word: &str) -> bool {
    word.parse::<crate::ids::MessageId>().is_ok() || word.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DeleteScope;

    fn send(to: &str, body: &str) -> Line {
        Line::Send {
            to: to.into(),
            body: body.into(),
        }
    }

    fn here(body: &str) -> Line {
        Line::SendHere { body: body.into() }
    }

    #[test]
    fn lines_mean_what_one_expects() {
        let id = "0198c5a2-7c1e-7b3a-9d2f-0123456789ab";
        let read_id = format!("/read {id}");
        for (line, expected) in [
            ("", Line::Nothing),
            ("   ", Line::Nothing),
            ("/help", Line::Help),
            ("/q", Line::Quit),
            ("/msg bob  good morning ", send("bob", "good morning")),
            ("bob: good morning", send("bob", "good morning")),
            ("bob:  two: colons", send("bob", "two: colons")),
            ("good morning", here("good morning")),
            ("well, listen: yes", here("well, listen: yes")),
            ("https://example.org", here("https://example.org")),
            (" bob: as it is", here("bob: as it is")),
            (" /etc/passwd", here("/etc/passwd")),
            ("/to bob", Line::To(Some("bob".into()))),
            ("/to", Line::To(None)),
            (
                "/users a*",
                Line::Users {
                    pattern: "a*".into(),
                },
            ),
            ("/history", Line::History { peer: None }),
            (
                "/history bob",
                Line::History {
                    peer: Some("bob".into()),
                },
            ),
            ("/read", Line::Read(Target::Here)),
            ("/read bob", Line::Read(Target::From("bob".into()))),
            (
                "/read 3 4",
                Line::Read(Target::Messages(vec!["3".into(), "4".into()])),
            ),
            (&read_id, Line::Read(Target::Messages(vec![id.into()]))),
            (
                "/delete 3",
                Line::Delete {
                    scope: DeleteScope::ForMe,
                    messages: vec!["3".into()],
                },
            ),
            (
                "/delete both 3",
                Line::Delete {
                    scope: DeleteScope::ForBoth,
                    messages: vec!["3".into()],
                },
            ),
            (
                "/login alice",
                Line::Login {
                    user: "alice".into(),
                },
            ),
        ] {
            assert_eq!(Line::parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_wrong_says_what_to_write() {
        for line in [
            "/msg bob",
            "/login",
            "/login alice secret",
            "/register",
            "/delete",
            "/delete both",
            "/nonsense",
        ] {
            assert!(matches!(Line::parse(line), Line::Wrong(_)), "{line:?}");
        }
    }
}
