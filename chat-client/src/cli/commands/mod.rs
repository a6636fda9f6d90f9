//! The commands that do one thing and end.

mod accounts;
mod messages;
mod status;
mod watch;

use super::args::{Command, Global};
use super::context::Context;
use super::failure::Failure;
use super::output;

pub(super) use status::ask_everybody;

pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    match command {
        Command::Register { user, password } => {
            accounts::register(global, &user, &password).await?
        }
        Command::Login { user, password } => accounts::login(global, &user, &password).await?,
        Command::Logout { all } => {
            let scope = if all {
                crate::types::LogoutScope::AllSessions
            } else {
                crate::types::LogoutScope::ThisSession
            };
            accounts::logout(global, scope).await?;
        }
        Command::WhoAmI => accounts::who_am_i(global).await?,
        Command::Users { pattern } => {
            accounts::users(global, pattern.as_deref().unwrap_or_default()).await?;
        }
        Command::DeleteAccount { yes, password } => {
            let confirmation = if yes {
                accounts::Confirmation::Given
            } else {
                accounts::Confirmation::Needed
            };
            accounts::delete(global, confirmation, &password).await?;
        }
        Command::Passwd {
            password,
            new_password_file,
        } => {
            accounts::change_password(global, &password, new_password_file.as_deref()).await?;
        }
        Command::Send { user, text } => messages::send(global, &user, &text).await?,
        Command::Inbox { keep } => {
            let then = if keep {
                messages::Then::Keep
            } else {
                messages::Then::Confirm
            };
            messages::inbox(global, then).await?;
        }
        Command::History { user, limit } => messages::history(global, &user, limit).await?,
        Command::Conversations => messages::conversations(global).await?,
        Command::Read { user, message } => {
            messages::mark_read(global, user.as_deref(), &message).await?;
        }
        Command::Delete { for_both, ids } => {
            let scope = if for_both {
                crate::types::DeleteScope::ForBoth
            } else {
                crate::types::DeleteScope::ForMe
            };
            messages::delete(global, &ids, scope).await?;
        }
        Command::Watch { count } => watch::watch(global, count).await?,
        Command::Status => status::status(global).await?,
        // Opened by the caller, for they deal with interrupts on their own.
        Command::Repl => super::repl::run(Context::connect(global).await?).await?,
        Command::Tui => super::tui::run(Context::connect(global).await?).await?,
    }
    output::flush()
}

/// A connection with a session.
async fn session(global: &Global) -> Result<Context, Failure> {
    let context = Context::connect(global).await?;
    context.require_session()?;
    Ok(context)
}
