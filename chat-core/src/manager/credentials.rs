//! Changing passwords.

use super::{AccountManager, Call, Fault, Origin};
use crate::{
    event::CloseReason,
    outcome::Outcome,
    password::PasswordHash,
    rejection::Rejection,
    rows::account::{CredentialKey, CredentialRow},
    store::KeyValue,
    values::{
        id::{AccountId, SessionId},
        secret::CredentialVersion,
        time::Timestamp,
    },
};

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn change_password(
        &mut self,
        call: &mut Call,
        account: AccountId,
        verified: CredentialVersion,
        password: PasswordHash,
        keep: Option<SessionId>,
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.active(account)?;
        let key = CredentialKey(party.number);
        let current = self.rows.require(&key)?;
        let mut changed = CredentialRow {
            hash: password,
            version: CredentialVersion::set_by(call.request),
            at: call.at,
            set: call.placed(),
        };
        match &call.origin {
            // Somebody who knows the old password must not undo a change that was made because they know it. Nor does a
            // merge do what the branch has refused that had made the change.
            _ if verified != current.version && call.knew(&current.set) => {
                return Err(Fault::Rejected(Rejection::StaleCredential));
            }
            // A client's change is later than the one it verified, even if the clock of this edge is behind that of the
            // edge before.
            Origin::Client if changed.rank() <= current.rank() => {
                changed.at = Timestamp::from_millis(current.at.as_millis().saturating_add(1));
            }
            Origin::Client => {}
            // Two branches changed it: the later change stands. Sessions that the earlier one has closed stay closed.
            Origin::Reproposed(_) if changed.rank() <= current.rank() => {
                self.close_known_sessions(call, party.number, keep, CloseReason::PasswordChanged)?;
                return Ok(Outcome::PasswordChanged {
                    credential: current.version,
                });
            }
            Origin::Reproposed(_) => {}
        }
        self.rows.replace(&key, &current, &changed)?;
        // Also those of which the author of a change that is proposed again knew nothing: they were opened with a password
        // that is no longer good, perhaps by whoever the change was to lock out.
        self.close_sessions(call, party.number, keep, CloseReason::PasswordChanged)?;
        Ok(Outcome::PasswordChanged {
            credential: changed.version,
        })
    }
}
