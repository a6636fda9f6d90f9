//! Accounts and sessions.

use std::path::Path;

use super::session;
use crate::cli::args::{Global, PasswordSource};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{data, note};
use crate::cli::password::{self, Ask};
use crate::cli::session_file::SessionFile;
use crate::cli::show;
use crate::cli::text::harmless;
use crate::error::Error;
use crate::types::{LogoutScope, PageRequest};

/// As many accounts as one answer may hold.
const PAGE: u32 = 1000;

/// Whether the user has to say again that the account shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    Given,
    Needed,
}

pub(super) async fn register(
    global: &Global,
    user: &str,
    source: &PasswordSource,
) -> Result<(), Failure> {
    let prompt = format!("Password for the new account {}: ", harmless(user));
    let password = password::read(source, &prompt, Ask::Twice)?;
    let context = Context::connect(global).await?;
    let registered = context.client.register(user, &password).await?;
    let name = show::name(&registered.account);
    data(&format!(
        "registered {name}, stored on {}",
        registered.durability
    ))?;
    note(&format!("log in with `chat-client login {name}`"));
    Ok(())
}

pub(super) async fn login(
    global: &Global,
    user: &str,
    source: &PasswordSource,
) -> Result<(), Failure> {
    let prompt = format!("Password of {}: ", harmless(user));
    let password = password::read(source, &prompt, Ask::Once)?;
    let mut context = Context::connect(global).await?;
    let logged_in = context.client.login(user, &password).await?;
    context.logged_in(&logged_in)?;
    data(&format!(
        "logged in as {} until {}",
        show::name(&logged_in.account),
        logged_in.expires
    ))
}

pub(super) async fn logout(global: &Global, scope: LogoutScope) -> Result<(), Failure> {
    let mut context = session(global).await?;
    let closed = match context.client.logout(scope).await {
        Ok(closed) => closed,
        // It had ended by itself, which is what the user wants.
        Err(Error::Unauthenticated(_)) if scope == LogoutScope::ThisSession => 0,
        Err(error) => return Err(error.into()),
    };
    context.logged_out()?;
    data(&match closed {
        0 => "logged out; the session had ended before".to_owned(),
        1 => "logged out".to_owned(),
        n => format!("logged out, {n} sessions ended"),
    })
}

pub(super) async fn who_am_i(global: &Global) -> Result<(), Failure> {
    let context = session(global).await?;
    let session = context.client.who_am_i().await?;
    data(&format!(
        "{}, session until {}",
        show::name(&session.account),
        session.expires
    ))?;
    context.remember()
}

pub(super) async fn users(global: &Global, pattern: &str) -> Result<(), Failure> {
    let context = session(global).await?;
    let mut request = Some(PageRequest::first(PAGE));
    while let Some(page) = request {
        let page = context.client.list_accounts(pattern, page).await?;
        for account in &page.items {
            data(&show::account(account))?;
        }
        request = page.next_request(PAGE);
    }
    context.remember()
}

pub(super) async fn delete(
    global: &Global,
    confirmation: Confirmation,
    source: &PasswordSource,
) -> Result<(), Failure> {
    let kept = SessionFile::at(global.session.clone())?
        .load()?
        .ok_or(Failure::NotLoggedIn)?;
    let name = harmless(&kept.username).into_owned();
    if confirmation == Confirmation::Needed {
        let question =
            format!("This deletes the account {name} for ever. Type its name to go on: ");
        password::confirm(&question, &kept.username)?;
    }
    let password = password::read(source, &format!("Password of {name}: "), Ask::Once)?;
    let mut context = session(global).await?;
    let durability = context.client.delete_account(&password).await?;
    context.logged_out()?;
    data(&format!(
        "deleted the account {name}, stored on {durability}"
    ))
}

pub(super) async fn change_password(
    global: &Global,
    source: &PasswordSource,
    new_file: Option<&Path>,
) -> Result<(), Failure> {
    let old = password::read(source, "Old password: ", Ask::Once)?;
    let new = match new_file {
        Some(file) => password::from_file(file)?,
        None if source.password_stdin => password::from_stdin()?,
        None => password::read(&PasswordSource::default(), "New password: ", Ask::Twice)?,
    };
    let context = session(global).await?;
    let durability = context.client.change_password(&old, &new).await?;
    data(&format!(
        "password changed, stored on {durability}; your other sessions have ended"
    ))?;
    context.remember()
}
