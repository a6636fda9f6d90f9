//! Accounts and sessions.

use std::path::Path;

use serde_json::json;

use super::session;
use crate::cli::args::PasswordSource;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::password::{self, Ask};
use crate::cli::session_file::SessionFile;
use crate::cli::settings::Settings;
use crate::cli::show;
use crate::cli::text::harmless;
use crate::error::Error;
use crate::ids::SessionId;
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
    settings: &Settings,
    user: &str,
    source: &PasswordSource,
) -> Result<(), Failure> {
    let prompt = format!("Password for the new account {}: ", harmless(user));
    let password = password::read(source, &prompt, Ask::Twice, settings.prompts)?;
    let context = Context::connect(settings).await?;
    let registered = context.client.register(user, &password).await?;
    let name = show::name(&registered.account);
    let record = json!({ "account": json::account(&registered.account) });
    settings.data(
        json::done("registered", registered.durability, record),
        &format!("registered {name}, stored on {}", registered.durability),
    )?;
    settings.note(&format!("log in with `chat-client login {name}`"));
    Ok(())
}

pub(super) async fn login(
    settings: &Settings,
    user: &str,
    source: &PasswordSource,
) -> Result<(), Failure> {
    let prompt = format!("Password of {}: ", harmless(user));
    let password = password::read(source, &prompt, Ask::Once, settings.prompts)?;
    let mut context = Context::connect(settings).await?;
    let logged_in = context.client.login(user, &password).await?;
    context.logged_in(&logged_in)?;
    let record = json!({
        "account": json::account(&logged_in.account),
        "expires_ms": logged_in.expires.as_unix_ms(),
    });
    let (name, until) = (show::name(&logged_in.account), logged_in.expires);
    settings.data(
        json::done("logged_in", logged_in.durability, record),
        &format!("logged in as {name} until {until}"),
    )
}

pub(super) async fn logout(settings: &Settings, scope: LogoutScope) -> Result<(), Failure> {
    let mut context = session(settings).await?;
    let closed = match context.client.logout(scope).await {
        Ok(closed) => closed,
        // It had ended by itself, which is what the user wants.
        Err(Error::Unauthenticated(_)) if scope == LogoutScope::ThisSession => 0,
        Err(error) => return Err(error.into()),
    };
    context.logged_out()?;
    let text = match closed {
        0 => "logged out; the session had ended before".to_owned(),
        1 => "logged out".to_owned(),
        n => format!("logged out, {n} sessions ended"),
    };
    let record = json!({ "type": "logged_out", "sessions_closed": closed });
    settings.data(record, &text)
}

pub(super) async fn who_am_i(settings: &Settings) -> Result<(), Failure> {
    let context = session(settings).await?;
    let session = context.client.who_am_i().await?;
    let (name, until) = (show::name(&session.account), session.expires);
    settings.data(
        json::session(&session),
        &format!("{name}, session until {until}"),
    )?;
    context.remember()
}

pub(super) async fn sessions(settings: &Settings) -> Result<(), Failure> {
    let context = session(settings).await?;
    for session in context.client.list_sessions().await? {
        let (id, opened, expires) = (session.id, session.opened, session.expires);
        let mark = if session.is_this { ", this one" } else { "" };
        let text = format!("{id}  since {opened}, until {expires}{mark}");
        settings.data(json::open_session(&session), &text)?;
    }
    context.remember()
}

pub(super) async fn revoke_session(settings: &Settings, id: SessionId) -> Result<(), Failure> {
    let mut context = session(settings).await?;
    let is_own = context.client.who_am_i().await?.id == id;
    let durability = context.client.revoke_session(id).await?;
    settings.data(
        json::done(
            "session_revoked",
            durability,
            json!({ "id": id.to_string() }),
        ),
        &format!("ended the session {id}, stored on {durability}"),
    )?;
    match is_own {
        true => context.logged_out(),
        false => context.remember(),
    }
}

pub(super) async fn users(settings: &Settings, pattern: &str) -> Result<(), Failure> {
    let context = session(settings).await?;
    let mut request = Some(PageRequest::first(PAGE));
    while let Some(page) = request {
        let page = context.client.list_accounts(pattern, page).await?;
        for account in &page.items {
            settings.data(json::account(account), &show::account(account))?;
        }
        request = page.next_request(PAGE);
    }
    context.remember()
}

pub(super) async fn delete(
    settings: &Settings,
    confirmation: Confirmation,
    source: &PasswordSource,
) -> Result<(), Failure> {
    let kept = SessionFile::of(settings)?
        .load()?
        .ok_or(Failure::NotLoggedIn)?;
    let name = harmless(&kept.username).into_owned();
    if confirmation == Confirmation::Needed {
        let question =
            format!("This deletes the account {name} for ever. Type its name to go on: ");
        password::confirm(&question, &kept.username, settings.prompts)?;
    }
    let password = password::read(
        source,
        &format!("Password of {name}: "),
        Ask::Once,
        settings.prompts,
    )?;
    let mut context = session(settings).await?;
    let durability = context.client.delete_account(&password).await?;
    context.logged_out()?;
    let record = json!({ "name": kept.username });
    settings.data(
        json::done("account_deleted", durability, record),
        &format!("deleted the account {name}, stored on {durability}"),
    )
}

pub(super) async fn change_password(
    settings: &Settings,
    source: &PasswordSource,
    new_file: Option<&Path>,
) -> Result<(), Failure> {
    let old = password::read(source, "Old password: ", Ask::Once, settings.prompts)?;
    let new = match new_file {
        Some(file) => password::from_file(file)?,
        None if source.password_stdin => password::from_stdin()?,
        None => password::read(
            &PasswordSource::default(),
            "New password: ",
            Ask::Twice,
            settings.prompts,
        )?,
    };
    let context = session(settings).await?;
    let durability = context.client.change_password(&old, &new).await?;
    settings.data(
        json::done("password_changed", durability, json!({})),
        &format!("password changed, stored on {durability}; your other sessions have ended"),
    )?;
    context.remember()
}
