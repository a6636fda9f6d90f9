//! The commands that do one thing and end.

mod accounts;
mod export;
mod generate;
mod messages;
mod status;
mod watch;

use super::args::{Command, SessionsCommand};
use super::context::Context;
use super::failure::Failure;
use super::output;
use super::settings::Settings;

pub(super) use status::ask_everybody;

pub(super) async fn run(command: Command, settings: &Settings) -> Result<(), Failure> {
    match command {
        Command::Register { user, password } => {
            accounts::register(settings, &user, &password).await?
        }
        Command::Login { user, password } => accounts::login(settings, &user, &password).await?,
        Command::Logout { all } => {
            let scope = if all {
                crate::types::LogoutScope::AllSessions
            } else {
                crate::types::LogoutScope::ThisSession
            };
            accounts::logout(settings, scope).await?;
        }
        Command::WhoAmI => accounts::who_am_i(settings).await?,
        Command::Sessions { command: None } => accounts::sessions(settings).await?,
        Command::Sessions {
            command: Some(SessionsCommand::Revoke { id }),
        } => accounts::revoke_session(settings, id).await?,
        Command::Users { pattern } => {
            accounts::users(settings, pattern.as_deref().unwrap_or_default()).await?;
        }
        Command::DeleteAccount { yes, password } => {
            let confirmation = if yes {
                accounts::Confirmation::Given
            } else {
                accounts::Confirmation::Needed
            };
            accounts::delete(settings, confirmation, &password).await?;
        }
        Command::Passwd {
            password,
            new_password_file,
        } => {
            accounts::change_password(settings, &password, new_password_file.as_deref()).await?;
        }
        Command::Send { user, text } => messages::send(settings, &user, &text).await?,
        Command::Inbox { keep } => {
            let then = if keep {
                messages::Then::Keep
            } else {
                messages::Then::Confirm
            };
            messages::inbox(settings, then).await?;
        }
        Command::History { user, limit } => messages::history(settings, &user, limit).await?,
        Command::Conversations => messages::conversations(settings).await?,
        Command::Read { user, message } => {
            messages::mark_read(settings, user.as_deref(), &message).await?;
        }
        Command::Delete { for_both, ids } => {
            let scope = if for_both {
                crate::types::DeleteScope::ForBoth
            } else {
                crate::types::DeleteScope::ForMe
            };
            messages::delete(settings, &ids, scope).await?;
        }
        Command::Watch { count } => watch::watch(settings, count).await?,
        Command::Status => status::status(settings).await?,
        Command::Export { out } => export::export(settings, out.as_deref()).await?,
        Command::Bench(args) => super::bench::run(settings, &args).await?,
        Command::Completions { shell } => generate::completions(shell)?,
        Command::Man { out } => generate::man(settings, out.as_deref())?,
        // Opened by the caller, for they deal with interrupts on their own.
        Command::Repl => super::repl::run(Context::connect(settings).await?).await?,
        Command::Tui => super::tui::run(Context::connect(settings).await?).await?,
    }
    output::flush()
}

/// A connection with a session.
async fn session(settings: &Settings) -> Result<Context, Failure> {
    let context = Context::connect(settings).await?;
    context.require_session()?;
    Ok(context)
}
