//! Random steps, and the commands that they become.

use std::{num::NonZeroU16, time::Duration};

use chat_core::{
    AccountId, AccountManager, AccountStatus, Command, CommandBody, CredentialVersion, DeleteScope,
    MessageId, RequestId, SessionId, SessionPolicy, Timestamp,
};
use proptest::{prelude::*, sample::Index};

use crate::world::{DAY, HOUR, START, create, hash, token, write};

/// Some look alike, and some are the same.
const NAMES: [&str; 5] = ["ada", "bob", "cem", "ADA", "аdа"];

/// What to do next. Indexes choose among what exists by then.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Register(Index),
    ChangePassword {
        account: Index,
        is_stale: bool,
        keep: Option<Index>,
    },
    DeleteAccount(Index),
    Open {
        account: Index,
        is_stale: bool,
        most: u16,
        hours: u64,
    },
    Close {
        account: Index,
        session: Index,
    },
    CloseAll {
        account: Index,
        except: Option<Index>,
    },
    Send {
        from: Index,
        to: Index,
        text: u8,
    },
    Delivered {
        account: Index,
        messages: Vec<Index>,
    },
    Read {
        account: Index,
        messages: Vec<Index>,
    },
    ReadThrough {
        account: Index,
        peer: Index,
        message: Index,
    },
    Delete {
        account: Index,
        messages: Vec<Index>,
        scope: DeleteScope,
    },
    Expire {
        days: u64,
    },
    /// A command that was made before, once more.
    Again(Index),
    /// The request id of a command that was made before, on the command that was made last.
    Reuse(Index),
    Pass(Duration),
}

/// How the command of a step is applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Client,
    /// From a branch of which this many of the last commands are not in common; the rest says in which epoch it stood.
    Reproposed(u16),
    /// Not now. Its ids are known to others all the same, and it may come `Again`.
    Withheld,
}

pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<(Step, Way)>> {
    let index = any::<Index>;
    let batch = || prop::collection::vec(index(), 0..5);
    let scope = prop_oneof![Just(DeleteScope::ForMe), Just(DeleteScope::ForBoth)];
    let pass = prop_oneof![
        6 => (0..5_000_u64).prop_map(Duration::from_millis),
        2 => (0..30_u64).prop_map(|hours| DAY * hours as u32 / 24),
        1 => (0..25_u32).prop_map(|days| DAY * days),
    ];
    let step = prop_oneof![
        6 => index().prop_map(Step::Register),
        2 => (index(), prop::bool::weighted(0.2), prop::option::of(index()))
            .prop_map(|(account, is_stale, keep)| Step::ChangePassword { account, is_stale, keep }),
        1 => index().prop_map(Step::DeleteAccount),
        4 => (index(), prop::bool::weighted(0.1), 0..4_u16, 1..100_u64)
            .prop_map(|(account, is_stale, most, hours)| Step::Open { account, is_stale, most, hours }),
        2 => (index(), index()).prop_map(|(account, session)| Step::Close { account, session }),
        1 => (index(), prop::option::of(index())).prop_map(|(account, except)| Step::CloseAll { account, except }),
        18 => (index(), index(), 0..3_u8).prop_map(|(from, to, text)| Step::Send { from, to, text }),
        5 => (index(), batch()).prop_map(|(account, messages)| Step::Delivered { account, messages }),
        4 => (index(), batch()).prop_map(|(account, messages)| Step::Read { account, messages }),
        4 => (index(), index(), index())
            .prop_map(|(account, peer, message)| Step::ReadThrough { account, peer, message }),
        6 => (index(), batch(), scope)
            .prop_map(|(account, messages, scope)| Step::Delete { account, messages, scope }),
        2 => (0..60_u64).prop_map(|days| Step::Expire { days }),
        8 => index().prop_map(Step::Again),
        2 => index().prop_map(Step::Reuse),
        6 => pass.prop_map(Step::Pass),
    ];
    let way = prop_oneof![8 => Just(Way::Client), 2 => any::<u16>().prop_map(Way::Reproposed), 2 => Just(Way::Withheld)];
    let one = (step, way).prop_map(|one| vec![one]);
    // So much of one conversation that some of it is kept apart from the rest.
    let talk = (index(), index(), 10..50_usize)
        .prop_map(|(from, to, times)| vec![(Step::Send { from, to, text: 0 }, Way::Client); times]);
    prop::collection::vec(prop_oneof![30 => one, 1 => talk], 1..most)
        .prop_map(|parts| parts.concat())
}

/// Makes commands out of steps, and remembers every id that any of them, applied or not, has made known.
#[derive(Clone)]
pub(super) struct Author {
    pub(super) now: Timestamp,
    pub(super) made: Vec<Command>,
    pub(super) accounts: Vec<AccountId>,
    pub(super) sessions: Vec<SessionId>,
    pub(super) messages: Vec<MessageId>,
    /// Who wrote and who gets each of them.
    pub(super) parties: Vec<(AccountId, AccountId)>,
    pub(super) seed: u8,
}

impl Author {
    pub(super) fn new(seed: u8) -> Self {
        // Somebody and something that never existed.
        let ghost = RequestId::from_parts(START, [255; 10]);
        let account = AccountId::derive(ghost);
        Self {
            now: START,
            made: Vec::new(),
            accounts: vec![account],
            sessions: vec![SessionId::derive(account, ghost)],
            messages: vec![MessageId::derive(account, ghost)],
            parties: vec![(account, account)],
            seed,
        }
    }

    /// The command of a step, or nothing if the step is not one.
    pub(super) fn command<S: chat_core::KeyValue>(
        &mut self,
        step: &Step,
        manager: &AccountManager<S>,
    ) -> Option<Command>
    where
        S::Error: std::fmt::Debug,
    {
        let stale = CredentialVersion::set_by(RequestId::from_parts(START, [254; 10]));
        let verified = |account: AccountId, is_stale: bool| {
            let current = manager
                .credentials(account)
                .unwrap()
                .map(|credentials| credentials.version);
            current.filter(|_| !is_stale).unwrap_or(stale)
        };
        let is_active = |account: &&AccountId| {
            manager
                .account(**account)
                .unwrap()
                .is_some_and(|profile| profile.status == AccountStatus::Active)
        };
        let active: Vec<AccountId> = self.accounts.iter().filter(is_active).copied().collect();
        // Mostly somebody who is there, so that most commands have something to do.
        let account = |index: &Index| match is_one_in(8, index) || active.is_empty() {
            true => *index.get(&self.accounts),
            false => *index.get(&active),
        };
        let party = |of: &Index, message: Option<&Index>| match message {
            Some(message) if !is_one_in(4, of) => {
                let (sender, recipient) = self.parties[message.index(self.messages.len())];
                if is_one_in(4, message) {
                    (sender, recipient)
                } else {
                    (recipient, sender)
                }
            }
            _ => (account(of), account(of)),
        };
        let session = |index: &Index| *index.get(&self.sessions);
        let batch = |indexes: &[Index]| {
            indexes
                .iter()
                .map(|index| *index.get(&self.messages))
                .collect()
        };
        let body = match step {
            Step::Register(name) => create(NAMES[name.index(NAMES.len())]),
            Step::ChangePassword {
                account: of,
                is_stale,
                keep,
            } => CommandBody::ChangePassword {
                account: account(of),
                verified: verified(account(of), *is_stale),
                password: hash(),
                keep: keep.as_ref().map(session),
            },
            Step::DeleteAccount(of) => CommandBody::DeleteAccount {
                account: account(of),
            },
            Step::Open {
                account: of,
                is_stale,
                most,
                hours,
            } => CommandBody::OpenSession {
                account: account(of),
                token: token(self.made.len() as u8),
                verified: verified(account(of), *is_stale),
                expires_at: self.now.saturating_add(HOUR * *hours as u32),
                policy: match NonZeroU16::new(*most) {
                    Some(most) => SessionPolicy::Several { most },
                    None => SessionPolicy::Single,
                },
            },
            Step::Close {
                account: of,
                session: which,
            } => CommandBody::CloseSession {
                account: account(of),
                session: session(which),
            },
            Step::CloseAll {
                account: of,
                except,
            } => CommandBody::CloseAllSessions {
                account: account(of),
                except: except.as_ref().map(session),
            },
            Step::Send { from, to, text } => {
                write(account(from), account(to), &format!("text {text}"))
            }
            Step::Delivered {
                account: of,
                messages,
            } => CommandBody::MarkDelivered {
                account: party(of, messages.first()).0,
                messages: batch(messages),
            },
            Step::Read {
                account: of,
                messages,
            } => CommandBody::MarkRead {
                account: party(of, messages.first()).0,
                messages: batch(messages),
            },
            Step::ReadThrough {
                account: of,
                peer,
                message,
            } => {
                let (reader, writer) = party(of, Some(message));
                let peer = if is_one_in(8, peer) {
                    account(peer)
                } else {
                    writer
                };
                CommandBody::ReadThrough {
                    account: reader,
                    peer,
                    message: *message.get(&self.messages),
                }
            }
            Step::Delete {
                account: of,
                messages,
                scope,
            } => CommandBody::DeleteMessages {
                account: party(of, messages.first()).0,
                messages: batch(messages),
                scope: *scope,
            },
            Step::Expire { days } => CommandBody::Expire {
                before: self.now.saturating_sub(DAY * *days as u32),
                limit: 10_000,
            },
            // A retry comes through an edge of its own time; an orphan keeps the time it had.
            Step::Again(_) if self.made.is_empty() => return None,
            Step::Again(which) => {
                let command = which.get(&self.made).clone();
                let at = if which.index(2) == 0 {
                    self.now
                } else {
                    command.at
                };
                return Some(Command { at, ..command });
            }
            Step::Reuse(_) if self.made.is_empty() => return None,
            Step::Reuse(which) => {
                let request = which.get(&self.made).request;
                let reused = self.made.last().map(|last| Command {
                    request,
                    ..last.clone()
                });
                self.remember_ids(reused.iter());
                return reused;
            }
            Step::Pass(span) => {
                self.now = self.now.saturating_add(*span);
                return None;
            }
        };
        Some(self.mint(body))
    }

    fn mint(&mut self, body: CommandBody) -> Command {
        self.now = self.now.saturating_add(Duration::from_millis(1));
        let mut random = [self.seed; 10];
        random[..8].copy_from_slice(&(self.made.len() as u64).to_be_bytes());
        let command = Command {
            request: RequestId::from_parts(self.now, random),
            at: self.now,
            body,
        };
        self.remember_ids([&command]);
        self.made.push(command.clone());
        command
    }

    fn remember_ids<'a>(&mut self, commands: impl IntoIterator<Item = &'a Command>) {
        for command in commands {
            match &command.body {
                CommandBody::CreateAccount { .. } => {
                    remember(&mut self.accounts, command.account())
                }
                CommandBody::OpenSession { account, .. } => {
                    remember(
                        &mut self.sessions,
                        SessionId::derive(*account, command.request),
                    );
                }
                CommandBody::Send {
                    sender, recipient, ..
                } => {
                    let message = MessageId::derive(*sender, command.request);
                    if !self.messages.contains(&message) {
                        self.messages.push(message);
                        self.parties.push((*sender, *recipient));
                    }
                }
                _ => {}
            }
        }
    }
}

/// A coin that falls with the index, but does not follow its order.
fn is_one_in(sides: usize, index: &Index) -> bool {
    index.index(1 << 20).is_multiple_of(sides)
}

pub(super) fn remember<T: PartialEq>(known: &mut Vec<T>, id: T) {
    if !known.contains(&id) {
        known.push(id);
    }
}
