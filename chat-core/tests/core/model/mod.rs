//! Random commands, retried, repeated, withheld and re-proposed in any order, beside an obvious model.

mod reference;

use std::{collections::BTreeSet, num::NonZeroU16, time::Duration};

use chat_core::{
    AccountId, AccountManager, AccountStatus, Command, CommandBody, CredentialVersion, DeleteScope,
    HistoryFrom, MessageId, Outcome, Profile, Rejection, RequestId, SessionCheck, SessionId,
    SessionPolicy, Timestamp,
};
use proptest::{prelude::*, sample::Index};

use self::reference::Model;
use crate::world::{DAY, START, create, hash, token, write};

/// Some look alike, and some are the same.
const NAMES: [&str; 5] = ["ada", "bob", "cem", "ADA", "аdа"];

/// What to do next. Indexes choose among what exists by then.
#[derive(Clone, Debug)]
enum Step {
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
enum Way {
    Client,
    Reproposed,
    /// Not now. Its ids are known to others all the same, and it may come `Again`.
    Withheld,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<(Step, Way)>> {
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
    let way =
        prop_oneof![8 => Just(Way::Client), 2 => Just(Way::Reproposed), 2 => Just(Way::Withheld)];
    prop::collection::vec((step, way), 1..most)
}

/// Makes commands out of steps, and remembers every id that any of them, applied or not, has made known.
#[derive(Clone)]
struct Author {
    now: Timestamp,
    made: Vec<Command>,
    accounts: Vec<AccountId>,
    sessions: Vec<SessionId>,
    messages: Vec<MessageId>,
    /// Who wrote and who gets each of them.
    parties: Vec<(AccountId, AccountId)>,
    seed: u8,
}

impl Author {
    fn new(seed: u8) -> Self {
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
    fn command<S: chat_core::KeyValue>(
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
                expires_at: self.now.saturating_add(crate::world::HOUR * *hours as u32),
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

/// The service has no account.
fn known(profile: Profile) -> Option<Profile> {
    Some(profile).filter(|profile| profile.id != AccountId::SYSTEM)
}

/// A coin that falls with the index, but does not follow its order.
fn is_one_in(sides: usize, index: &Index) -> bool {
    index.index(1 << 20).is_multiple_of(sides)
}

fn remember<T: PartialEq>(known: &mut Vec<T>, id: T) {
    if !known.contains(&id) {
        known.push(id);
    }
}

/// Housekeeping tells how many rows it visited, which is nobody's business but its own.
fn visible(result: Result<Outcome, Rejection>) -> Result<Outcome, Rejection> {
    result.map(|outcome| match outcome {
        Outcome::Expired { progress, .. } => Outcome::Expired {
            visited: 0,
            progress,
        },
        other => other,
    })
}

/// Everything that anybody can see is what the model says.
fn compare(manager: &AccountManager, model: &Model, author: &Author) -> Result<(), TestCaseError> {
    prop_assert_eq!(manager.stats(), model.stats());
    for account in &author.accounts {
        let Ok(profile) = manager.account(*account);
        prop_assert_eq!(profile, model.profile(*account));
        let Ok(credentials) = manager.credentials(*account);
        prop_assert_eq!(
            credentials.map(|credentials| credentials.version),
            model.credential(*account)
        );
        let Ok(sessions) = manager.sessions(*account);
        prop_assert_eq!(
            sessions
                .iter()
                .map(|session| session.id)
                .collect::<Vec<_>>(),
            model.sessions(*account)
        );
        let Ok(inbox) = manager.inbox(*account, None, 1_000);
        prop_assert_eq!(
            inbox
                .items
                .iter()
                .map(|message| message.id)
                .collect::<Vec<_>>(),
            model.inbox(*account)
        );
        let Ok(conversations) = manager.conversations(*account, None, 1_000);
        let conversations: Vec<_> = conversations
            .items
            .into_iter()
            .map(|conversation| {
                (
                    conversation.peer.id,
                    conversation.unread,
                    conversation.last.map(|message| message.id),
                )
            })
            .collect();
        prop_assert_eq!(conversations, model.conversations(*account));
        for peer in author.accounts.iter().chain([&AccountId::SYSTEM]) {
            let Ok(page) = manager.history(
                *account,
                *peer,
                HistoryFrom::After(Default::default()),
                1_000,
            );
            let history: Vec<_> = page
                .items
                .into_iter()
                .map(|message| (message.id, message.state, known(message.sender)))
                .collect();
            prop_assert_eq!(history, model.history(*account, *peer));
        }
    }
    for session in &author.sessions {
        for number in 0..author.made.len() as u8 {
            let Ok(check) = manager.verify_session(*session, &token(number), START);
            prop_assert_eq!(
                matches!(check, SessionCheck::Valid(_)),
                model.opens(*session, number)
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Results are those of the model after every command, and so is everything that can be seen after the last.
    #[test]
    fn the_manager_does_what_the_model_does(steps in steps(70)) {
        let mut author = Author::new(0);
        let mut manager = AccountManager::new();
        let mut model = Model::default();
        let mut applied = Vec::new();
        for (step, way) in &steps {
            let Some(command) = author.command(step, &manager) else { continue };
            let (result, expected) = match way {
                Way::Withheld => continue,
                Way::Client => {
                    let Ok(applied) = manager.apply(command.clone());
                    (applied.result, model.apply(&command, reference::Origin::Client))
                }
                Way::Reproposed => {
                    let Ok(applied) = manager.apply_reproposed(command.clone());
                    (applied.result, model.apply(&command, reference::Origin::Reproposed))
                }
            };
            prop_assert_eq!(visible(result), visible(expected), "{:?}", command);
            applied.push((command, *way));
        }
        compare(&manager, &model, &author)?;
        let Ok(recomputed) = manager.recompute_state_hash();
        prop_assert_eq!(manager.state_hash(), recomputed);

        // Another manager, whose store is closed and opened again and again, comes to the same state.
        let mut other = AccountManager::new();
        for (command, way) in applied {
            let command = Command::decode(&command.encode()).unwrap();
            let Ok(_) = match way {
                Way::Reproposed => other.apply_reproposed(command),
                _ => other.apply(command),
            };
            other = AccountManager::open(other.into_store()).unwrap();
        }
        prop_assert_eq!(other.state_hash(), manager.state_hash());
        prop_assert_eq!(other.store(), manager.store());
    }

    /// Two branches grow from one state. The commands of one are applied to the other, in any order and some of them
    /// twice: nothing panics, and the model agrees.
    #[test]
    fn branches_merge(
        common in steps(20),
        kept in steps(25),
        lost in steps(25),
        order in prop::collection::vec(any::<Index>(), 30),
    ) {
        let mut branch = Branch::new();
        branch.grow(&common);
        let mut other = branch.fork();
        let mut orphans = other.grow(&lost);
        branch.grow(&kept);
        branch.learn_ids(&other);
        for index in order.iter().cycle() {
            if orphans.is_empty() {
                break;
            }
            let at = index.index(orphans.len());
            let orphan = orphans.remove(at);
            for _ in 0..1 + at % 2 {
                let Ok(applied) = branch.manager.apply_reproposed(orphan.clone());
                let expected = branch.model.apply(&orphan, reference::Origin::Reproposed);
                prop_assert_eq!(visible(applied.result), visible(expected), "{:?}", orphan);
            }
        }
        compare(&branch.manager, &branch.model, &branch.author)?;
        let Ok(recomputed) = branch.manager.recompute_state_hash();
        prop_assert_eq!(branch.manager.state_hash(), recomputed);
    }

    /// Without the model: as long as nobody deletes anything or uses an id twice, whatever was accepted on either branch is there once.
    #[test]
    fn nothing_that_was_accepted_is_lost_or_doubled(common in steps(30), kept in steps(40), lost in steps(40)) {
        let [common, kept, lost] = [common, kept, lost].map(|mut steps| {
            steps.retain(|(step, _)| {
                !matches!(step, Step::Delete { .. } | Step::DeleteAccount(_) | Step::Expire { .. } | Step::Pass(_) | Step::Reuse(_))
            });
            steps
        });
        let mut branch = Branch::new();
        let mut accepted = branch.grow(&common);
        let mut other = branch.fork();
        let orphans = other.grow(&lost);
        accepted.extend(branch.grow(&kept));
        for orphan in &orphans {
            let Ok(applied) = branch.manager.apply_reproposed(orphan.clone());
            // A password that changed on both sides, and a session that turned out to be somebody else's.
            let may_fail =
                matches!(orphan.body, CommandBody::OpenSession { .. } | CommandBody::CloseSession { .. });
            prop_assert!(applied.result.is_ok() || may_fail, "{:?} {:?}", orphan, applied.result);
        }
        accepted.extend(orphans);
        let mut expected: BTreeSet<MessageId> = BTreeSet::new();
        for command in &accepted {
            match &command.body {
                CommandBody::CreateAccount { .. } => {
                    let Ok(profile) = branch.manager.account(command.account());
                    let profile = profile.unwrap();
                    let Ok(found) = branch.manager.account_by_name(&profile.name);
                    prop_assert_eq!(found, Some(profile));
                }
                CommandBody::Send { sender, recipient, .. } => {
                    let message = MessageId::derive(*sender, command.request);
                    expected.insert(message);
                    let sides = if sender == recipient { vec![(sender, recipient)] } else {
                        vec![(sender, recipient), (recipient, sender)]
                    };
                    for (side, peer) in sides {
                        let from = HistoryFrom::After(Default::default());
                        let Ok(page) = branch.manager.history(*side, *peer, from, 1_000);
                        let copies = page.items.iter().filter(|shown| shown.id == message).count();
                        prop_assert_eq!(copies, 1, "{:?}", command);
                    }
                }
                _ => {}
            }
        }
        let notices = branch.manager.stats().messages - expected.len() as u64;
        prop_assert!(notices <= lost.len() as u64);
    }
}

/// A history that grows.
struct Branch {
    author: Author,
    manager: AccountManager,
    model: Model,
}

impl Branch {
    fn new() -> Self {
        Self {
            author: Author::new(0),
            manager: AccountManager::new(),
            model: Model::default(),
        }
    }

    fn fork(&self) -> Self {
        let author = Author {
            seed: self.author.seed + 1,
            ..self.author.clone()
        };
        Self {
            author,
            manager: self.manager.clone(),
            model: self.model.clone(),
        }
    }

    /// Applies all steps as clients' commands, and gives those that were accepted.
    fn grow(&mut self, steps: &[(Step, Way)]) -> Vec<Command> {
        let mut accepted = Vec::new();
        for (step, _) in steps {
            let Some(command) = self.author.command(step, &self.manager) else {
                continue;
            };
            let Ok(applied) = self.manager.apply(command.clone());
            let expected = self.model.apply(&command, reference::Origin::Client);
            assert_eq!(
                visible(applied.result.clone()),
                visible(expected),
                "{command:?}"
            );
            if applied.result.is_ok() {
                accepted.push(command);
            }
        }
        accepted
    }

    fn learn_ids(&mut self, other: &Self) {
        for account in &other.author.accounts {
            remember(&mut self.author.accounts, *account);
        }
        for session in &other.author.sessions {
            remember(&mut self.author.sessions, *session);
        }
        self.author.made.extend(other.author.made.iter().cloned());
    }
}

/// Enough for every run; more by `PROPTEST_CASES`.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(256)
}
