//! Two branches of random commands over a few accounts, grown from a common history and merged in either direction.
//!
//! What must come of it is asked of the two branches as they were before they met, without a look at how commands are
//! applied: what somebody sent on either is there once, unless somebody deleted it on either; what its reader had or read on
//! either is delivered or read; and nothing else is.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
    thread,
};

use chat_core::{
    AccountId, AccountManager, AccountStatus, Applied, Command, CommandBody, DeleteScope,
    EventKind, HistoryFrom, Lineage, Message, MessageId, MessageState, RequestId, Sequence,
    SessionId, SessionPolicy, Timestamp,
};

use crate::world::{START, create, hash, token, write};

/// Each is merged in both directions.
const CASES: u64 = 10_000;

/// A generator of numbers (SplitMix64), so that a case is its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn is_one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.roll(some.len())]
    }
}

/// A history that grows: the state, and the log that led to it.
#[derive(Clone)]
struct Branch {
    manager: AccountManager,
    name: u8,
    now: Timestamp,
    accounts: Vec<AccountId>,
    sent: Vec<(AccountId, AccountId, MessageId)>,
    sessions: Vec<(AccountId, SessionId)>,
    /// What stands behind the fork, and whether it was accepted.
    log: Vec<(Command, bool)>,
    /// Where it began another epoch.
    epochs: Vec<(u128, Sequence)>,
    fork: Sequence,
}

impl Branch {
    fn new() -> Self {
        Self {
            manager: AccountManager::new(),
            name: 0,
            now: START,
            accounts: Vec::new(),
            sent: Vec::new(),
            sessions: Vec::new(),
            log: Vec::new(),
            epochs: Vec::new(),
            fork: Sequence::default(),
        }
    }

    fn fork(&self, name: u8) -> Self {
        let fork = self.manager.place();
        Self {
            name,
            log: Vec::new(),
            epochs: vec![((u128::from(name) << 64) + 1, after(fork, 1))],
            fork,
            ..self.clone()
        }
    }

    fn grow(&mut self, dice: &mut Dice, commands: usize) {
        for _ in 0..commands {
            if dice.is_one_in(6) && !self.epochs.is_empty() {
                let first = after(self.fork, self.log.len() as u64 + 1);
                let epoch = (u128::from(self.name) << 64) + u128::from(first.number());
                match self.epochs.last_mut() {
                    // Nothing stands in the epoch before.
                    Some(last) if last.1 == first => *last = (epoch, first),
                    _ => self.epochs.push((epoch, first)),
                }
            }
            self.now = Timestamp::from_millis(self.now.as_millis() + 1 + dice.roll(3) as u64);
            let mut random = [self.name; 10];
            random[..8].copy_from_slice(&(self.log.len() as u64).to_be_bytes());
            let command = Command {
                request: RequestId::from_parts(self.now, random),
                at: self.now,
                body: self.body(dice),
            };
            self.apply(command);
        }
    }

    fn apply(&mut self, command: Command) {
        let account = command.account();
        let Ok(applied) = self.manager.apply(command.clone());
        if applied.result.is_ok() {
            match &command.body {
                CommandBody::CreateAccount { .. } => self.accounts.push(account),
                CommandBody::OpenSession { .. } => {
                    let session = SessionId::derive(account, command.request);
                    self.sessions.push((account, session));
                }
                CommandBody::Send { recipient, .. } => {
                    let message = MessageId::derive(account, command.request);
                    self.sent.push((account, *recipient, message));
                }
                _ => {}
            }
        }
        self.log.push((command, applied.result.is_ok()));
    }

    fn body(&self, dice: &mut Dice) -> CommandBody {
        let account = dice.pick(&self.accounts);
        let verified = |account| {
            let Ok(credentials) = self.manager.credentials(account);
            credentials.map(|credentials| credentials.version)
        };
        let own_session = |dice: &mut Dice| -> Option<SessionId> {
            let own: Vec<_> = self
                .sessions
                .iter()
                .filter(|(of, _)| *of == account)
                .collect();
            (!own.is_empty()).then(|| dice.pick(&own).1)
        };
        let what = dice.roll(40);
        if let Some((sender, recipient, message)) =
            (!self.sent.is_empty()).then(|| dice.pick(&self.sent))
        {
            let mut messages = vec![message];
            if dice.is_one_in(3) {
                messages.push(dice.pick(&self.sent).2);
            }
            match what {
                0..8 => {
                    return CommandBody::ReadThrough {
                        account: recipient,
                        peer: sender,
                        message,
                    };
                }
                // Up to a message of one's own.
                8..10 => {
                    return CommandBody::ReadThrough {
                        account: sender,
                        peer: recipient,
                        message,
                    };
                }
                10..13 => {
                    return CommandBody::MarkDelivered {
                        account: recipient,
                        messages,
                    };
                }
                13..15 => {
                    return CommandBody::MarkRead {
                        account: recipient,
                        messages,
                    };
                }
                15..18 => {
                    let (account, scope) = match dice.roll(3) {
                        0 => (sender, DeleteScope::ForBoth),
                        1 => (sender, DeleteScope::ForMe),
                        _ => (recipient, DeleteScope::ForMe),
                    };
                    return CommandBody::DeleteMessages {
                        account,
                        messages: vec![message],
                        scope,
                    };
                }
                _ => {}
            }
        }
        match (what, verified(account)) {
            (18 | 19, Some(verified)) => CommandBody::OpenSession {
                account,
                token: token(1),
                verified,
                expires_at: Timestamp::from_millis(self.now.as_millis() + 3_600_000),
                policy: match NonZeroU16::new(dice.roll(3) as u16) {
                    Some(most) => SessionPolicy::Several { most },
                    None => SessionPolicy::Single,
                },
            },
            (20, _) => CommandBody::CloseAllSessions {
                account,
                except: own_session(dice),
            },
            (21, _) if let Some(session) = own_session(dice) => {
                CommandBody::CloseSession { account, session }
            }
            (22, Some(verified)) => CommandBody::ChangePassword {
                account,
                verified,
                password: hash(),
                keep: own_session(dice),
            },
            (23, _) if dice.is_one_in(2) => CommandBody::DeleteAccount { account },
            (24, _) => create(dice.pick(&["dan", "eve", "fay"])),
            _ => write(account, dice.pick(&self.accounts), "hello"),
        }
    }

    fn history(&self, account: AccountId, peer: AccountId) -> Vec<Message> {
        let from = HistoryFrom::After(Sequence::default());
        let Ok(page) = self.manager.history(account, peer, from, 1_000);
        page.items
    }

    fn is_active(&self, account: AccountId) -> bool {
        let Ok(profile) = self.manager.account(account);
        profile.is_some_and(|profile| profile.status == AccountStatus::Active)
    }

    fn is_deleted(&self, account: AccountId) -> bool {
        self.accounts.contains(&account) && !self.is_active(account)
    }

    fn has_sent(&self, message: MessageId) -> bool {
        self.sent.iter().any(|(.., sent)| *sent == message)
    }

    /// What an account sees of a message that this branch has.
    fn seen(
        &self,
        account: AccountId,
        peer: AccountId,
        message: MessageId,
    ) -> Option<MessageState> {
        let history = self.history(account, peer);
        let found = history.iter().find(|shown| shown.id == message);
        found.map(|shown| shown.state)
    }

    fn open(&self, account: AccountId) -> BTreeSet<SessionId> {
        let Ok(sessions) = self.manager.sessions(account);
        sessions.into_iter().map(|session| session.id).collect()
    }

    /// Whether the branch accepted a command of this kind from an account behind the fork.
    fn has(&self, account: AccountId, is_kind: fn(&CommandBody) -> bool) -> bool {
        let accepted = self.log.iter().filter(|(_, accepted)| *accepted);
        accepted
            .into_iter()
            .any(|(command, _)| command.account() == account && is_kind(&command.body))
    }

    /// Takes in the commands of a branch that lost: all of its log, whether it accepted them or not.
    fn merge(&mut self, lost: &Branch) -> Result<(), String> {
        for (index, (command, _)) in lost.log.iter().enumerate() {
            let at = after(lost.fork, index as u64 + 1);
            let epochs = lost.epochs.iter().filter(|(_, first)| *first <= at);
            let lineage = Lineage {
                fork: lost.fork,
                epochs: epochs.copied().collect(),
                at,
            };
            let Ok(applied) = self.manager.apply_reproposed(command.clone(), lineage);
            self.check_events(&applied)?;
        }
        Ok(())
    }

    /// Nobody is told that something was read that was not.
    fn check_events(&self, applied: &Applied) -> Result<(), String> {
        for event in &applied.events {
            let EventKind::ReadThrough {
                by, peer, message, ..
            } = &event.kind
            else {
                continue;
            };
            let history = self.history(*by, *peer);
            let through = history.iter().find(|shown| shown.id == *message);
            let through = through.map(|shown| shown.sequence);
            let unread = history.iter().find(|shown| {
                shown.sender.id == *peer
                    && shown.state != MessageState::Read
                    && through.is_some_and(|through| shown.sequence <= through)
            });
            if unread.is_some() {
                return Err(format!("{event:?} says that {unread:?} was read"));
            }
        }
        Ok(())
    }
}

fn after(place: Sequence, by: u64) -> Sequence {
    Sequence::new(place.number() + by)
}

/// What each side sees of each message: in the merged history what it should, by what the two branches were.
fn check_messages(merged: &Branch, one: &Branch, other: &Branch) -> Result<(), String> {
    let branches = [one, other];
    let sent: BTreeSet<_> = one.sent.iter().chain(&other.sent).copied().collect();
    let mut unread = BTreeMap::<_, u32>::new();
    let mut waiting = BTreeMap::<_, BTreeSet<_>>::new();
    for (sender, recipient, message) in sent {
        for (side, peer) in [(sender, recipient), (recipient, sender)] {
            if !merged.is_active(side) {
                continue;
            }
            let history = merged.history(side, peer);
            let copies: Vec<_> = history.iter().filter(|shown| shown.id == message).collect();
            let on = branches.iter().filter(|branch| branch.has_sent(message));
            let seen: Vec<_> = on.map(|branch| branch.seen(side, peer, message)).collect();
            // Deleted on one branch is deleted.
            let expected = seen.iter().copied().collect::<Option<Vec<_>>>();
            let expected = expected.and_then(|states| states.into_iter().max());
            let found: Vec<_> = copies.iter().map(|shown| shown.state).collect();
            if found != Vec::from_iter(expected) {
                return Err(format!(
                    "{side} sees {message} of {sender} for {recipient} as {found:?}; on the branches it was {seen:?}"
                ));
            }
            if side == recipient && side != sender {
                let state = expected.unwrap_or(MessageState::Read);
                *unread.entry((side, peer)).or_default() += u32::from(state != MessageState::Read);
                if state == MessageState::Queued {
                    waiting.entry(side).or_default().insert(message);
                }
            }
        }
    }
    for ((account, peer), unread) in unread {
        let Ok(conversation) = merged.manager.conversation(account, peer);
        let counted = conversation.map_or(0, |conversation| conversation.unread);
        if counted != unread {
            return Err(format!(
                "{account} has {unread} of {peer} unread, and is told {counted}"
            ));
        }
    }
    for account in merged
        .accounts
        .iter()
        .filter(|account| merged.is_active(**account))
    {
        let Ok(inbox) = merged.manager.inbox(*account, None, 1_000);
        let inbox = inbox
            .items
            .iter()
            .filter(|message| message.sender.id != AccountId::SYSTEM);
        let inbox: Vec<_> = inbox.map(|message| message.id).collect();
        let expected = waiting.remove(account).unwrap_or_default();
        if inbox.len() != expected.len() || !inbox.iter().all(|id| expected.contains(id)) {
            return Err(format!(
                "for {account} wait {expected:?}, and its inbox is {inbox:?}"
            ));
        }
    }
    Ok(())
}

fn check_accounts(merged: &Branch, winner: &Branch, loser: &Branch) -> Result<(), String> {
    for account in winner.accounts.iter().chain(&loser.accounts) {
        let is_gone = winner.is_deleted(*account) || loser.is_deleted(*account);
        if merged.is_active(*account) == is_gone {
            return Err(format!(
                "{account} is gone on a branch: {is_gone}, and not after"
            ));
        }
        if is_gone {
            continue;
        }
        let version = |branch: &Branch| {
            let Ok(credentials) = branch.manager.credentials(*account);
            credentials.map(|credentials| credentials.version)
        };
        if ![version(winner), version(loser)].contains(&version(merged)) {
            return Err(format!(
                "{account} has a password that it had on neither branch"
            ));
        }
        check_sessions(merged, winner, loser, *account)?;
    }
    Ok(())
}

fn check_sessions(
    merged: &Branch,
    winner: &Branch,
    loser: &Branch,
    account: AccountId,
) -> Result<(), String> {
    let open = [merged, winner, loser].map(|branch| branch.open(account));
    let knew = |branch: &Branch, session| branch.sessions.contains(&(account, session));
    let changes = |body: &CommandBody| matches!(body, CommandBody::ChangePassword { .. });
    let closes = |body: &CommandBody| matches!(body, CommandBody::CloseAllSessions { .. });
    let sessions = winner.sessions.iter().chain(&loser.sessions);
    for (_, session) in sessions.filter(|(of, _)| *of == account) {
        let is_known = [winner, loser].map(|branch| knew(branch, *session));
        let was_open = [&open[1], &open[2]].map(|open| open.contains(session));
        let is_open = open[0].contains(session);
        let was_closed = (0..2).any(|branch| is_known[branch] && !was_open[branch]);
        // A login that was to replace it is refused where the password has changed, or all others were closed later.
        let may_stay = winner.has(account, changes) || winner.has(account, closes);
        if is_open && was_closed && !may_stay {
            return Err(format!("{session} is open again"));
        }
        // What may end a session that the other branch did not know.
        let may_end = winner.has(account, changes)
            || loser.has(account, changes)
            || !is_known[0] && winner.has(account, closes);
        if !is_open && !was_closed && !may_end {
            return Err(format!(
                "{session} was open wherever it was known, and is no more"
            ));
        }
    }
    Ok(())
}

fn check(case: u64) -> Result<(), String> {
    let mut dice = Dice(case);
    let mut common = Branch::new();
    for name in ["ada", "bob", "cem"] {
        let at = common.now;
        let random = [common.accounts.len() as u8; 10];
        common.apply(Command {
            request: RequestId::from_parts(at, random),
            at,
            body: create(name),
        });
    }
    let length = dice.roll(12);
    common.grow(&mut dice, length);
    let (mut one, mut other) = (common.fork(1), common.fork(2));
    let lengths = [1 + dice.roll(12), 1 + dice.roll(12)];
    one.grow(&mut dice, lengths[0]);
    for _ in 0..lengths[1] {
        // A client that did not wait for an answer tries its command at the other branch as well.
        match dice.is_one_in(8) {
            true => {
                let (command, accepted) = &one.log[dice.roll(one.log.len())];
                let is_new = other
                    .log
                    .iter()
                    .all(|(known, _)| known.request != command.request);
                if *accepted && is_new && matches!(command.body, CommandBody::Send { .. }) {
                    other.apply(command.clone());
                }
            }
            false => other.grow(&mut dice, 1),
        }
    }
    for (winner, loser) in [(&one, &other), (&other, &one)] {
        let mut merged = winner.clone();
        merged.merge(loser)?;
        for account in &loser.accounts {
            if !merged.accounts.contains(account) {
                merged.accounts.push(*account);
            }
        }
        check_messages(&merged, winner, loser)?;
        check_accounts(&merged, winner, loser)?;
        if case.is_multiple_of(8) {
            let Ok(recomputed) = merged.manager.recompute_state_hash();
            let Ok(census) = merged.manager.check();
            if merged.manager.state_hash() != recomputed || !census.flaws.is_empty() {
                return Err(format!(
                    "the rows contradict each other: {:?}",
                    census.flaws
                ));
            }
        }
    }
    Ok(())
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "how much was tried is what the test is worth"
)]
fn two_branches_merge_in_either_direction() {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let each = |first| {
        let cases = (first..CASES).step_by(threads as usize);
        cases
            .map(|case| check(case).map_err(|problem| format!("case {case}: {problem}")))
            .collect::<Result<Vec<()>, _>>()
    };
    let checked: Vec<_> = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || each(first)))
            .collect();
        parts.into_iter().map(|part| part.join().unwrap()).collect()
    });
    let mut cases = 0;
    for part in checked {
        match part {
            Ok(part) => cases += part.len() as u64,
            Err(problem) => panic!("{problem}"),
        }
    }
    println!("{cases} cases, each merged in both directions");
    assert_eq!(cases, CASES);
}
