//! How much waits for an account.

use std::ops::ControlFlow;

use crate::{
    manager::AccountManager,
    rows::{Span, message::UndeliveredKey},
    store::{KeyValue, Order},
    values::id::AccountId,
};

impl<S: KeyValue> AccountManager<S> {
    /// How many messages wait for an account, counted no further than `most`.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn undelivered(&self, account: AccountId, most: usize) -> Result<usize, S::Error> {
        let Some(number) = self.reader(account)? else {
            return Ok(0);
        };
        let span = Span::prefix::<UndeliveredKey>(|key| number.write(key));
        let mut count = 0;
        self.rows
            .visit::<UndeliveredKey>(&span, Order::Ascending, |_, _| {
                if count >= most {
                    return ControlFlow::Break(());
                }
                count += 1;
                ControlFlow::Continue(())
            })?;
        Ok(count)
    }
}
