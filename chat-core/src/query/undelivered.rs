//! How much waits for an account.

use crate::{
    manager::AccountManager, rows::inbox::InboxKey, store::KeyValue, values::id::AccountId,
};

impl<S: KeyValue> AccountManager<S> {
    /// How many messages wait to be delivered to an account. Costs the same however many they are.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn undelivered(&self, account: AccountId) -> Result<u64, S::Error> {
        let Some(number) = self.reader(account)? else {
            return Ok(0);
        };
        let inbox = self.rows.read(&InboxKey(number))?;
        Ok(inbox.map_or(0, |inbox| inbox.waiting))
    }
}
