//! Requests that were answered, what is to be forgotten, and deleted accounts that are being cleared up after.

use super::Census;
use crate::{
    manager::AccountManager,
    message::AccountStatus,
    rows::{
        request::{ForgetKey, RequestKey},
        stood::StoodKey,
        sweep::SweepKey,
    },
    store::KeyValue,
};

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn check_rest(&self, census: &mut Census) -> Result<(), S::Error> {
        self.each::<RequestKey>(|_, _| {
            census.requests += 1;
            Ok(())
        })?;
        // That they can be read is all there is to say of them: what they name may be gone, or have come since.
        self.each::<ForgetKey>(|_, _| Ok(()))?;
        self.each::<StoodKey>(|_, _| Ok(()))?;
        self.each::<SweepKey>(|key, _| {
            let status = self.status_of(key.0)?;
            census.expect(status == Some(AccountStatus::Deleted), || {
                format!("{:?} is being cleared up after, and is not deleted", key.0)
            });
            Ok(())
        })
    }
}
