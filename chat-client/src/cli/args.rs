//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::json;
use super::settings::Format;
use crate::endpoint::Endpoint;
use crate::ids::{MessageId, SessionId};

const EXAMPLE: &str = "\
Example:
  chat-client register alice && chat-client login alice && chat-client send bob hello

Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 authentication, 5 conflict, 6 unavailable, 7 timeout, 130 interrupted.";

const CONFIG: &str = "\
Profiles stand in config.toml in $XDG_CONFIG_HOME/chat or ~/.config/chat (or in the file that CHAT_CLIENT_CONFIG names), each with \
a session of its own:
  default_profile = \"work\"
  [profile.work]
  servers = [\"https://a.example.org:7400\", \"https://b.example.org:7401\"]
  ca = \"/etc/chat/ca.pem\"
  timeout = \"10s\"";

/// Chat from the command line.
#[derive(Debug, Parser)]
#[command(
    name = "chat-client",
    version,
    about = "Chat from the command line. Without a command, opens the terminal interface.",
    after_help = EXAMPLE,
    after_long_help = format!("{EXAMPLE}\n\n{CONFIG}\n\n{}", json::HELP)
)]
pub(super) struct Args {
    #[command(flatten, next_help_heading = "Options of every command")]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Global {
    /// Address of a replica; repeat it for each one [default: 127.0.0.1:7400, 7401 and 7402]
    #[arg(
        long = "server",
        value_name = "HOST:PORT",
        env = "CHAT_SERVERS",
        hide_env_values = true,
        value_delimiter = ',',
        global = true
    )]
    pub(super) servers: Vec<Endpoint>,
    /// File with the certificate of the cluster's authority, ca.pem; connections are encrypted then
    #[arg(
        long,
        value_name = "FILE",
        env = "CHAT_CA",
        hide_env_values = true,
        global = true
    )]
    pub(super) ca: Option<PathBuf>,
    /// File that keeps the session between commands [default: session.toml in $XDG_STATE_HOME/chat or ~/.local/state/chat]
    #[arg(
        long,
        value_name = "FILE",
        env = "CHAT_SESSION",
        hide_env_values = true,
        global = true
    )]
    pub(super) session: Option<PathBuf>,
    /// How long a call may take, all replicas together, such as 10s or 500ms [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_time, global = true)]
    pub(super) timeout: Option<Duration>,
    /// How long one replica may take to answer before the next one is asked [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_time, global = true)]
    pub(super) attempt_timeout: Option<Duration>,
    /// Which profile of the config file to use
    #[arg(
        long,
        value_name = "NAME",
        env = "CHAT_PROFILE",
        hide_env_values = true,
        global = true
    )]
    pub(super) profile: Option<String>,
    /// Write data as JSON, one object in each line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Never ask: fail where an answer would be needed
    #[arg(long, global = true)]
    pub(super) no_input: bool,
}

impl Global {
    pub(super) fn format(&self) -> Format {
        match self.json {
            true => Format::Json,
            false => Format::Text,
        }
    }
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct PasswordSource {
    /// Read the password from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    pub(super) password_file: Option<PathBuf>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub(super) password_stdin: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Create an account
    #[command(after_help = "Example:\n  chat-client register alice")]
    Register {
        /// The name of the new account
        user: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Open a session and keep it for later commands
    #[command(after_help = "Example:\n  chat-client login alice --password-file ~/alice.password")]
    Login {
        /// The name of the account
        user: String,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// End the session
    #[command(after_help = "Example:\n  chat-client logout --all")]
    Logout {
        /// End all sessions of the account
        #[arg(long)]
        all: bool,
    },
    /// Show whose session it is
    #[command(name = "whoami", after_help = "Example:\n  chat-client whoami")]
    WhoAmI,
    /// List the open sessions of the account, or end one of them
    #[command(
        after_help = "Examples:\n  chat-client sessions\n  chat-client sessions revoke 0198c5a2-7c1e-7b3a-9d2f-0123456789ab",
        args_conflicts_with_subcommands = true
    )]
    Sessions {
        #[command(subcommand)]
        command: Option<SessionsCommand>,
    },
    /// List accounts
    #[command(
        after_help = "Examples:\n  chat-client users 'a*'\n  chat-client users 'regex:^(alice|bob)$'"
    )]
    Users {
        /// A glob (* ? [a-z]) or, behind regex:, a regular expression; all accounts without it
        pattern: Option<String>,
    },
    /// Send a message
    #[command(
        after_help = "Examples:\n  chat-client send bob good morning\n  chat-client send bob - < letter.txt"
    )]
    Send {
        /// Whom it is for
        user: String,
        /// The message; several words are joined by spaces, and - reads it from standard input
        #[arg(required = true, allow_hyphen_values = true, trailing_var_arg = true)]
        text: Vec<String>,
    },
    /// Show the messages that wait, and confirm them
    #[command(after_help = "Example:\n  chat-client inbox --keep")]
    Inbox {
        /// Leave the messages in the inbox
        #[arg(long)]
        keep: bool,
    },
    /// Show the conversation with somebody
    #[command(after_help = "Example:\n  chat-client history bob --limit 20")]
    History {
        /// The other party
        user: String,
        /// How many messages, from the latest back
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// List conversations, with the number of unread messages in each
    #[command(after_help = "Example:\n  chat-client conversations")]
    Conversations,
    /// Mark messages as read
    #[command(
        after_help = "Examples:\n  chat-client read bob\n  chat-client read --message 0198c5a2-7c1e-7b3a-9d2f-0123456789ab"
    )]
    Read {
        /// Mark all messages from this sender
        #[arg(required_unless_present = "message", conflicts_with = "message")]
        user: Option<String>,
        /// Mark this message; repeat it for more
        #[arg(long, value_name = "ID")]
        message: Vec<MessageId>,
    },
    /// Delete messages
    #[command(
        after_help = "Example:\n  chat-client delete --for-both 0198c5a2-7c1e-7b3a-9d2f-0123456789ab"
    )]
    Delete {
        /// Delete for the recipient as well; only messages that you sent
        #[arg(long)]
        for_both: bool,
        /// Which messages
        #[arg(required = true, value_name = "ID")]
        ids: Vec<MessageId>,
    },
    /// Delete your account
    #[command(
        after_help = "Example:\n  chat-client delete-account --yes --password-file ~/alice.password"
    )]
    DeleteAccount {
        /// Do not ask whether you mean it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Change your password
    #[command(
        after_help = "Example:\n  chat-client passwd --password-file old --new-password-file new\n\n\
            With --password-stdin the old password is the first line and the new one the second."
    )]
    Passwd {
        #[command(flatten)]
        password: PasswordSource,
        /// Read the new password from the first line of a file
        #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
        new_password_file: Option<PathBuf>,
    },
    /// Show messages and events as they come, until interrupted
    #[command(after_help = "Example:\n  chat-client watch --count 1")]
    Watch {
        /// End after so many messages
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Show the state of the replicas, each as it sees itself
    #[command(after_help = "Example:\n  chat-client status --server 127.0.0.1:7400")]
    Status,
    /// Write everything that the account has as JSON, one object in each line
    #[command(
        after_help = "Examples:\n  chat-client export --out history.jsonl\n  chat-client export | jq -r 'select(.type == \"message\") | .body'"
    )]
    Export {
        /// Write to this file instead of standard output; it is yours alone to read
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Measure a cluster under load, and check that nothing is lost or doubled
    #[command(
        after_help = "Examples:\n  chat-client bench --clients 16 --duration 30s\n  chat-client bench --rate 500 --offline 20 --json"
    )]
    Bench(BenchArgs),
    /// Write a script that completes commands in a shell
    #[command(
        after_help = "Example:\n  chat-client completions bash > ~/.local/share/bash-completion/completions/chat-client"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual page, or with --out the pages of all commands
    #[command(
        after_help = "Examples:\n  chat-client man | man -l -\n  chat-client man --out ~/.local/share/man/man1"
    )]
    Man {
        /// The folder for the pages
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
    /// Open the terminal interface
    #[command(after_help = "Example:\n  chat-client tui\n\nF1 shows the keys.")]
    Tui,
    /// Open an interactive session, line by line
    #[command(after_help = "Example:\n  chat-client repl")]
    Repl,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// How many clients send at the same time, each over connections of its own
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) clients: u32,
    /// How many messages each client has under way; not used with --rate
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) in_flight: u32,
    /// Send over one stream for each sender instead of call by call
    #[arg(long)]
    pub(super) stream: bool,
    /// Open loop: so many messages in a second from all clients together, whether or not answers come
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) rate: Option<u32>,
    /// How long to send
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub(super) duration: Duration,
    /// How many bytes a message has
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(40..=60_000))]
    pub(super) size: u32,
    /// Between how many pairs of accounts the messages go
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) pairs: u32,
    /// How many of a hundred recipients are offline
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(super) offline: u32,
    /// Leave the accounts and messages that were made for it
    #[arg(long)]
    pub(super) keep: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum SessionsCommand {
    /// End a session: whoever has it is logged out
    Revoke {
        /// The session, as the list shows it
        // Not `session`, which is an option of every command.
        #[arg(value_name = "SESSION")]
        id: SessionId,
    },
}

/// A time such as `10s`, `1.5s`, `500ms` or `2m`; a bare number means seconds.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("the unit is not ms, s or m".into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "write a time such as 10s or 500ms")?;
    let seconds = number * seconds_per_unit;
    // Longer than a day is a typing error, and far below what a duration can hold.
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("the time must be between 1ms and a day".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_each_command_has_an_example() {
        Args::command().debug_assert();
        for command in Args::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.starts_with("Example"), "{}", command.get_name());
            assert!(help.contains(&format!("chat-client {}", command.get_name())));
        }
    }

    #[test]
    fn no_argument_takes_a_password() {
        for command in Args::command().get_subcommands() {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(!id.contains("password") || id.contains("file") || id.contains("stdin"));
            }
        }
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("3", 3_000),
            ("1.5s", 1_500),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "0", "1h", "9999999", "NaNs", "1 s"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
