//! Accounts in pairs, one who writes and one who is written to, and the file of their sessions.

use std::fs;
use std::path::Path;

use chat_client::{Client, Error, SessionToken};
use tokio::task::JoinSet;

use super::connect;
use crate::arguments::Accounts;
use crate::outcome::{Outcome, say};

/// Everybody's; the accounts are of nobody.
const PASSWORD: &str = "correct horse battery staple";
/// How many are made at once.
const AT_ONCE: usize = 32;

/// One who writes and one who is written to.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) sender: String,
    pub(crate) sender_token: SessionToken,
    pub(crate) recipient: String,
    /// None where only senders have sessions.
    pub(crate) recipient_token: Option<SessionToken>,
}

/// Makes accounts that are not there yet, opens a session for each, and writes them down.
pub(crate) async fn make(accounts: &Accounts) -> Outcome {
    let client = connect(&accounts.targets).await?;
    let mut making: JoinSet<Outcome<(u32, Pair)>> = JoinSet::new();
    let mut pairs = Vec::new();
    for number in 0..accounts.pairs {
        if making.len() >= AT_ONCE
            && let Some(made) = making.join_next().await
        {
            pairs.push(made??);
        }
        let (client, senders_only) = (client.clone(), accounts.senders_only);
        making.spawn(async move { Ok((number, pair(&client, number, senders_only).await?)) });
    }
    while let Some(made) = making.join_next().await {
        pairs.push(made??);
    }
    pairs.sort_by_key(|(number, _)| *number);
    let lines: Vec<String> = pairs.iter().map(|(_, pair)| line(pair)).collect();
    fs::write(&accounts.sessions, lines.join("\n") + "\n")?;
    say(&format!("{} pairs", pairs.len()));
    Ok(())
}

async fn pair(client: &Client, number: u32, senders_only: bool) -> Outcome<Pair> {
    // As the example `fill` names them.
    let (sender, recipient) = (format!("from-{number}"), format!("to-{number}"));
    if !senders_only {
        register(client, &sender).await?;
        register(client, &recipient).await?;
    }
    Ok(Pair {
        sender_token: login(client, &sender).await?,
        recipient_token: match senders_only {
            true => None,
            false => Some(login(client, &recipient).await?),
        },
        sender,
        recipient,
    })
}

async fn register(client: &Client, name: &str) -> Outcome {
    match client.register(name, PASSWORD).await {
        // A conflict means that it is there already.
        Ok(_) | Err(Error::Conflict(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn login(client: &Client, name: &str) -> Outcome<SessionToken> {
    let client = client.with_session(None);
    Ok(client.login(name, PASSWORD).await?.token)
}

fn line(pair: &Pair) -> String {
    let recipient_token = pair.recipient_token.as_ref();
    [
        pair.sender.as_str(),
        pair.sender_token.expose(),
        pair.recipient.as_str(),
        recipient_token.map_or("-", SessionToken::expose),
    ]
    .join("\t")
}

/// Reads the file that `accounts` has written.
pub(crate) fn read(file: &Path) -> Outcome<Vec<Pair>> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let pairs: Option<Vec<Pair>> = text.lines().map(parse).collect();
    match pairs {
        Some(pairs) if !pairs.is_empty() => Ok(pairs),
        _ => Err(format!(
            "{} does not hold sessions; write it with the command `accounts`",
            file.display()
        )
        .into()),
    }
}

fn parse(line: &str) -> Option<Pair> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [sender, sender_token, recipient, recipient_token] = fields[..] else {
        return None;
    };
    Some(Pair {
        sender: sender.to_owned(),
        sender_token: SessionToken::new(sender_token),
        recipient: recipient.to_owned(),
        recipient_token: match recipient_token {
            "-" => None,
            token => Some(SessionToken::new(token)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_as_it_was_written() {
        let pair = Pair {
            sender: "from-1".to_owned(),
            sender_token: SessionToken::new("s"),
            recipient: "to-1".to_owned(),
            recipient_token: None,
        };
        let read = parse(&line(&pair)).expect("a line");
        assert_eq!(read.sender_token.expose(), "s");
        assert_eq!(
            (read.recipient.as_str(), read.recipient_token),
            ("to-1", None)
        );
        assert!(parse("no tabs").is_none());
    }
}
