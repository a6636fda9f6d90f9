//! Accounts, as others see them.

use chat_client::api;
use chat_core::{AccountStatus, Profile};

use crate::live::presence::Online;

pub(crate) fn account(profile: &Profile, online: &impl Online) -> api::Account {
    let is_active = profile.status == AccountStatus::Active;
    api::Account {
        account_id: profile.id.to_string(),
        username: profile.name.to_string(),
        online: is_active && online.is_online(profile.id),
        // Ids begin with the time of the registration.
        create_time_ms: profile.id.time().as_millis() as i64,
        deleted: profile.status == AccountStatus::Deleted,
    }
}
