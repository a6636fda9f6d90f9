//! `chat-server account`: accounts, through the socket of a replica.

use std::io::{BufRead, stdin};

use super::Problem;
use super::admin::{reach, table, told};
use super::args::{AccountCommand, NewPassword};
use super::output::say;
use crate::clock;
use crate::ops::admin::proto::{
    CreateAccountRequest, DeleteAccountRequest, ListAccountsRequest, ResetPasswordRequest,
};

/// What made-up passwords are made of: nothing that is taken for something else. 20 of them are 100 bits.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const LENGTH: usize = 20;

pub(super) async fn run(command: AccountCommand) -> Result<(), Problem> {
    match command {
        AccountCommand::Create {
            name,
            password,
            through,
        } => {
            let password = Password::from(&password)?;
            let request = CreateAccountRequest {
                username: name,
                password: password.text.clone(),
            };
            let mut operator = reach(&through).await?;
            let made = operator.create_account(request).await.map_err(told)?;
            say(format!("made the account {}", made.into_inner().username));
            password.show();
        }
        AccountCommand::ResetPassword {
            name,
            password,
            through,
        } => {
            let password = Password::from(&password)?;
            let request = ResetPasswordRequest {
                username: name.clone(),
                password: password.text.clone(),
            };
            let mut operator = reach(&through).await?;
            operator.reset_password(request).await.map_err(told)?;
            say(format!(
                "the account {name} has a new password; its sessions have ended"
            ));
            password.show();
        }
        AccountCommand::Delete { name, through } => {
            let request = DeleteAccountRequest {
                username: name.clone(),
            };
            let mut operator = reach(&through).await?;
            operator.delete_account(request).await.map_err(told)?;
            say(format!("deleted the account {name}"));
        }
        AccountCommand::List { pattern, through } => {
            let mut operator = reach(&through).await?;
            let mut rows = vec![["NAME", "ID", "SESSIONS"].map(str::to_owned)];
            let mut request = ListAccountsRequest {
                pattern: pattern.unwrap_or_default(),
                after: String::new(),
            };
            loop {
                let page = operator.list_accounts(request.clone()).await;
                let page = page.map_err(told)?.into_inner();
                rows.extend(page.accounts.into_iter().map(|account| {
                    [
                        account.username,
                        account.account_id,
                        account.sessions.to_string(),
                    ]
                }));
                if page.next.is_empty() {
                    break;
                }
                request.after = page.next;
            }
            say(table(&rows).join("\n"));
        }
    }
    Ok(())
}

/// A new password, and whether anybody knows it yet.
struct Password {
    text: String,
    origin: Origin,
}

enum Origin {
    MadeUp,
    Read,
}

impl Password {
    fn from(source: &NewPassword) -> Result<Password, Problem> {
        if !source.password_stdin {
            let random: [u8; LENGTH] = clock::random();
            let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
            return Ok(Password {
                text: random.iter().map(letter).collect(),
                origin: Origin::MadeUp,
            });
        }
        let mut line = String::new();
        stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|error| format!("the password cannot be read from standard input: {error}"))?;
        let text = line.trim_end_matches(['\r', '\n']).to_owned();
        match text.is_empty() {
            true => Err("standard input holds no password; write it in its first line".to_owned()),
            false => Ok(Password {
                text,
                origin: Origin::Read,
            }),
        }
    }

    /// Tells it to the operator, who could not know it otherwise.
    fn show(&self) {
        match self.origin {
            Origin::MadeUp => say(format!(
                "password: {}\nit is shown this once; the owner changes it with `chat-client passwd`",
                self.text
            )),
            Origin::Read => {}
        }
    }
}
