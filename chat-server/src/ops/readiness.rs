//! Whether clients are to be sent here.

use std::sync::Arc;

use chat_replication::handle::Handle;
use chat_replication::status::{Role, Status};
use tokio::sync::watch;

use crate::store::state::Response;

/// Whether a replica answers, and if not, why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// It is in a view, and its state shows what was acknowledged before it came in.
    Ready,
    /// It is not; why, in words.
    NotReady(String),
}

impl Readiness {
    fn of(status: &Status, leaves: bool) -> Readiness {
        if leaves {
            return Readiness::NotReady("it is going away".to_owned());
        }
        if !status.serves() {
            return Readiness::NotReady(match (status.waiting_for.as_str(), status.role) {
                ("", Role::Learner) => "it is catching up".to_owned(),
                ("", _) => "it looks for the others".to_owned(),
                (waiting_for, _) => waiting_for.to_owned(),
            });
        }
        let behind = status.view_start.saturating_sub(status.applied);
        match behind {
            0 => Readiness::Ready,
            some => Readiness::NotReady(format!("it has {some} entries to apply")),
        }
    }
}

/// Follows a replica until it ends. `leaves` is true once it is to go away.
pub(crate) fn follow(
    handle: &Handle<Response>,
    mut leaves: watch::Receiver<bool>,
) -> watch::Receiver<Readiness> {
    let mut changes = handle.progress();
    let now = Readiness::of(&handle.status(), *leaves.borrow());
    let (sender, receiver) = watch::channel(now);
    tokio::spawn(async move {
        loop {
            let status = Arc::clone(&changes.borrow_and_update());
            let now = Readiness::of(&status, *leaves.borrow_and_update());
            sender.send_if_modified(|known| {
                let differs = *known != now;
                if differs {
                    *known = now;
                }
                differs
            });
            let goes_on = tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                changed = leaves.changed() => changed.is_ok(),
            };
            if !goes_on {
                let gone = Readiness::NotReady("it has ended".to_owned());
                sender.send_replace(gone);
                return;
            }
        }
    });
    receiver
}
