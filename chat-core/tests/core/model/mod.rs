//! Random commands, retried, repeated, withheld and re-proposed in any order, beside an obvious model.

mod author;
mod reference;

use std::collections::BTreeSet;

use chat_core::{
    AccountId, AccountManager, Applied, Command, CommandBody, HistoryFrom, Lineage, MessageId,
    Outcome, Profile, Rejection, Sequence, SessionCheck,
};
use proptest::{prelude::*, sample::Index};

use self::{
    author::{Author, Step, Way, remember, steps},
    reference::Model,
};
use crate::world::{START, token};

/// The service has no account.
fn known(profile: Profile) -> Option<Profile> {
    Some(profile).filter(|profile| profile.id != AccountId::SYSTEM)
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
                    let Ok(Applied { result, .. }) = manager.apply(command.clone());
                    applied.push((command.clone(), None));
                    (result, model.apply(&command, &reference::Origin::Client))
                }
                Way::Reproposed(how) => {
                    let lineage = made_up(&manager, &command, *how);
                    let Ok(Applied { result, .. }) = manager.apply_reproposed(command.clone(), lineage.clone());
                    applied.push((command.clone(), Some(lineage.clone())));
                    (result, model.apply(&command, &reference::Origin::Reproposed(lineage)))
                }
            };
            prop_assert_eq!(visible(result), visible(expected), "{:?}", command);
        }
        compare(&manager, &model, &author)?;
        let Ok(recomputed) = manager.recompute_state_hash();
        prop_assert_eq!(manager.state_hash(), recomputed);
        let Ok(census) = manager.check();
        prop_assert_eq!(census.flaws, Vec::<String>::new());

        // Another manager, whose store is closed and opened again and again, comes to the same state.
        let mut other = AccountManager::new();
        for (command, lineage) in applied {
            let command = Command::decode(&command.encode()).unwrap();
            let Ok(_) = match lineage {
                Some(lineage) => other.apply_reproposed(command, lineage),
                None => other.apply(command),
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
        let mut orphans = other.grow_apart(&lost);
        branch.grow(&kept);
        branch.learn_ids(&other);
        for index in order.iter().cycle() {
            if orphans.is_empty() {
                break;
            }
            let at = index.index(orphans.len());
            let (orphan, lineage) = orphans.remove(at);
            for _ in 0..1 + at % 2 {
                let Ok(applied) = branch.manager.apply_reproposed(orphan.clone(), lineage.clone());
                let origin = reference::Origin::Reproposed(lineage.clone());
                let expected = branch.model.apply(&orphan, &origin);
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
        let orphans = other.grow_apart(&lost);
        accepted.extend(branch.grow(&kept));
        for (orphan, lineage) in &orphans {
            let Ok(applied) = branch.manager.apply_reproposed(orphan.clone(), lineage.clone());
            // A password that changed on both sides, and a session that turned out to be somebody else's.
            let may_fail =
                matches!(orphan.body, CommandBody::OpenSession { .. } | CommandBody::CloseSession { .. });
            prop_assert!(applied.result.is_ok() || may_fail, "{:?} {:?}", orphan, applied.result);
        }
        accepted.extend(orphans.into_iter().map(|(orphan, _)| orphan));
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
            let expected = self.model.apply(&command, &reference::Origin::Client);
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

    /// The same, with what the commands' lineages are if another branch than this one wins.
    fn grow_apart(&mut self, steps: &[(Step, Way)]) -> Vec<(Command, Lineage)> {
        let fork = self.manager.place();
        let places = fork.number() + 1..;
        let lineage = |at| Lineage {
            fork,
            epochs: vec![(1, Sequence::new(fork.number() + 1))],
            at: Sequence::new(at),
        };
        let accepted = self.grow(steps).into_iter();
        accepted.zip(places.map(lineage)).collect()
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

/// Of a command that may have stood on any of some branches that never were.
fn made_up(manager: &AccountManager, command: &Command, how: u16) -> Lineage {
    let place = manager.place().number();
    let fork = Sequence::new(place.saturating_sub(u64::from(how % 32)));
    let epochs = match how / 32 % 4 {
        0 => vec![],
        1 => vec![(1, fork)],
        2 => vec![(1, fork), (2, START_PLACE)],
        _ => vec![(2, fork)],
    };
    Lineage {
        fork,
        epochs,
        at: Sequence::new(command.at.as_millis()),
    }
}

/// In the middle of all places on branches that never were.
const START_PLACE: Sequence = Sequence::new(START.as_millis() + 3_600_000);

/// Enough for every run; more by `PROPTEST_CASES`.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(256)
}
