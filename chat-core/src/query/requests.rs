//! Looking up what a request came to.

use crate::{
    manager::AccountManager,
    outcome::Outcome,
    rows::request::RequestKey,
    store::KeyValue,
    values::id::{AccountId, RequestId},
};

impl<S: KeyValue> AccountManager<S> {
    /// What a request of this account came to, if it was accepted and its retries are still recognised: for an edge
    /// that can no longer tell whether the caller may ask, because the request itself has ended the session. Sends are
    /// not looked up here: their message says it.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn outcome(
        &self,
        account: AccountId,
        request: RequestId,
    ) -> Result<Option<Outcome>, S::Error> {
        let answered = self.rows.read(&RequestKey { request, account })?;
        Ok(answered.map(|answered| answered.outcome))
    }
}
