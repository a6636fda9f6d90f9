//! The obvious model: vectors, searched from end to end, and everything worked out anew when it is asked for.

mod views;

use std::collections::BTreeSet;

use chat_core::{
    AccountId, Command, CommandBody, CredentialVersion, DeleteScope, Lineage, MessageId, Outcome,
    Progress, Rejection, RequestId, SessionId, SessionPolicy, Timestamp, Username,
};

use crate::world::DAY;

#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Client,
    Reproposed(Lineage),
}

/// Where a command stands here, and the epochs and places where it stood elsewhere.
#[derive(Clone, Default)]
struct Placed {
    here: u64,
    elsewhere: Vec<(u128, u64)>,
}

impl Placed {
    fn at(here: u64, origin: &Origin) -> Self {
        let mut placed = Self {
            here,
            elsewhere: Vec::new(),
        };
        placed.note(origin);
        placed
    }

    fn note(&mut self, origin: &Origin) {
        if let Origin::Reproposed(lineage) = origin
            && let Some((epoch, _)) = lineage.epochs.last()
        {
            let stood = (*epoch, lineage.at.number());
            if !self.elsewhere.contains(&stood) && self.elsewhere.len() < 8 {
                self.elsewhere.push(stood);
            }
        }
    }

    /// Where it stands on the branch that a command comes from, before that command.
    fn on_branch_of(&self, origin: &Origin) -> Option<u64> {
        let lineage = match origin {
            Origin::Client => return Some(self.here),
            Origin::Reproposed(lineage) => lineage,
        };
        if self.here <= lineage.fork.number() {
            return Some(self.here);
        }
        let ends = lineage.epochs.iter().skip(1).map(|(_, first)| *first);
        let ends = ends.chain([lineage.at]);
        let stretches: Vec<_> = lineage.epochs.iter().zip(ends).collect();
        let place = self.elsewhere.iter().find(|(epoch, at)| {
            stretches.iter().any(|((of, first), end)| {
                of == epoch && first.number() <= *at && *at < end.number()
            })
        });
        place.map(|(_, at)| *at)
    }

    fn is_known_to(&self, origin: &Origin) -> bool {
        self.on_branch_of(origin).is_some()
    }
}

#[derive(Clone)]
struct Account {
    id: AccountId,
    name: Username,
    /// What it reserves besides its name.
    looks_like: Option<String>,
    is_deleted: bool,
    password: (Timestamp, RequestId),
    password_set: Placed,
    sessions_closed_at: Timestamp,
    created: Placed,
    deleted: Placed,
}

#[derive(Clone)]
struct Session {
    id: SessionId,
    account: AccountId,
    expires_at: Timestamp,
    tokens: Vec<u8>,
    opened: Placed,
}

#[derive(Clone)]
struct Message {
    id: MessageId,
    placed: Placed,
    sender: AccountId,
    recipient: AccountId,
    is_delivered: bool,
    is_read: bool,
    hidden_from: BTreeSet<AccountId>,
    /// Nobody sees it, and it has left the store.
    is_removed: bool,
    /// Deleted before it came: it has no place in the conversation.
    never_came: bool,
}

#[derive(Clone, PartialEq)]
enum Said {
    Delivered,
    Read,
    Deleted(DeleteScope),
}

#[derive(Clone, Default)]
pub(crate) struct Model {
    accounts: Vec<Account>,
    sessions: Vec<Session>,
    messages: Vec<Message>,
    /// What was said of messages that are not there, in order.
    said: Vec<(MessageId, AccountId, Said)>,
    never_open: Vec<(SessionId, AccountId)>,
    never_register: Vec<AccountId>,
    /// Whose list shows whom, the last active first.
    recent: Vec<(AccountId, AccountId)>,
    /// Commands that were accepted.
    count: u64,
    answers: Vec<(AccountId, RequestId, String, Outcome)>,
    horizon: Timestamp,
    newest: Timestamp,
}

type Result<T> = std::result::Result<T, Rejection>;

impl Model {
    pub(crate) fn apply(&mut self, command: &Command, origin: &Origin) -> Result<Outcome> {
        let minted = command.request.time();
        if minted < command.at.saturating_sub(DAY * 30) || minted < self.horizon {
            return Err(Rejection::RequestTooOld);
        }
        if minted > command.at.saturating_add(DAY) {
            return Err(Rejection::RequestFromFuture);
        }
        let account = command.account();
        let content = content(command);
        let known = self
            .answers
            .iter()
            .find(|(of, request, ..)| *of == account && *request == command.request)
            .cloned();
        let outcome = match known {
            Some((.., before, _)) if before != content => return Err(Rejection::RequestIdReused),
            Some((.., outcome)) => match &command.body {
                CommandBody::OpenSession {
                    account,
                    token,
                    verified,
                    ..
                } => {
                    let token = token.as_bytes()[0];
                    self.join(*account, command.request, token, *verified, origin)?
                }
                _ => {
                    self.note_again(command, origin);
                    outcome
                }
            },
            None => {
                let outcome = self.first(command, origin)?;
                self.count += 1;
                // What was sent and then forgotten is protected by the horizon.
                self.answers
                    .push((account, command.request, content, outcome.clone()));
                outcome
            }
        };
        if !matches!(command.body, CommandBody::Expire { .. }) {
            self.newest = self.newest.max(minted);
        }
        Ok(outcome)
    }

    fn note_again(&mut self, command: &Command, origin: &Origin) {
        let id = MessageId::derive(command.account(), command.request);
        match &command.body {
            CommandBody::Send { .. } => {
                for message in &mut self.messages {
                    if message.id == id && !message.is_removed {
                        message.placed.note(origin);
                    }
                }
            }
            CommandBody::CreateAccount { .. } => {
                for known in &mut self.accounts {
                    if known.id == command.account() {
                        known.created.note(origin);
                    }
                }
            }
            CommandBody::ChangePassword { account, .. } => {
                for known in &mut self.accounts {
                    if known.id == *account && known.password.1 == command.request {
                        known.password_set.note(origin);
                    }
                }
            }
            CommandBody::DeleteAccount { account } => {
                for known in &mut self.accounts {
                    if known.id == *account && known.is_deleted {
                        known.deleted.note(origin);
                    }
                }
            }
            _ => {}
        }
    }

    /// An account that is there, or was when the command was given.
    fn author(&mut self, account: AccountId, origin: &Origin) -> Result<()> {
        let is_known = self.accounts.iter().any(|known| {
            known.id == account && known.is_deleted && !known.deleted.is_known_to(origin)
        });
        match is_known {
            true => Ok(()),
            false => self.active(account).map(|_| ()),
        }
    }

    fn first(&mut self, command: &Command, origin: &Origin) -> Result<Outcome> {
        let (request, at) = (command.request, command.at);
        match &command.body {
            CommandBody::CreateAccount { name, skeleton, .. } => {
                self.create(request, at, origin, name, skeleton.as_str())
            }
            CommandBody::ChangePassword {
                account,
                verified,
                keep,
                ..
            } => {
                let set = Placed::at(self.count + 1, origin);
                let owner = self.active(*account)?;
                let current = owner.password;
                let mut change = (at, request);
                match origin {
                    _ if verified.request() != current.1
                        && owner.password_set.is_known_to(origin) =>
                    {
                        return Err(Rejection::StaleCredential);
                    }
                    Origin::Client if change <= current => {
                        change.0 = Timestamp::from_millis(current.0.as_millis() + 1);
                    }
                    Origin::Reproposed(_) if change <= current => {
                        self.sessions.retain(|session| {
                            session.account != *account
                                || Some(session.id) == *keep
                                || !session.opened.is_known_to(origin)
                        });
                        return Ok(Outcome::PasswordChanged {
                            credential: CredentialVersion::set_by(current.1),
                        });
                    }
                    _ => {}
                }
                owner.password = change;
                owner.password_set = set;
                self.sessions
                    .retain(|session| session.account != *account || Some(session.id) == *keep);
                Ok(Outcome::PasswordChanged {
                    credential: CredentialVersion::set_by(request),
                })
            }
            CommandBody::DeleteAccount { account } => {
                let may_come = self.may_come(account.time(), at);
                match self.accounts.iter_mut().find(|known| known.id == *account) {
                    Some(known) if known.is_deleted => known.deleted.note(origin),
                    Some(known) => {
                        known.is_deleted = true;
                        known.deleted = Placed::at(self.count + 1, origin);
                    }
                    None if may_come && !self.never_register.contains(account) => {
                        self.never_register.push(*account);
                    }
                    None => {}
                }
                self.sessions.retain(|session| session.account != *account);
                Ok(Outcome::AccountDeleted)
            }
            CommandBody::OpenSession {
                account,
                token,
                verified,
                expires_at,
                policy,
            } => {
                let owner = self.active(*account)?;
                if verified.request() != owner.password.1 {
                    return Err(Rejection::StaleCredential);
                }
                if *expires_at <= at {
                    return Err(Rejection::ExpiryInPast);
                }
                let session = SessionId::derive(*account, request);
                let was_closed =
                    matches!(origin, Origin::Reproposed(_)) && at <= owner.sessions_closed_at;
                if was_closed || self.never_open.contains(&(session, *account)) {
                    return Err(Rejection::SessionClosed { session });
                }
                let most = match policy {
                    SessionPolicy::Single => 1,
                    SessionPolicy::Several { most } => usize::from(most.get()),
                };
                let known = |session: &&Session| {
                    session.account == *account && session.opened.is_known_to(origin)
                };
                while self.sessions.iter().filter(known).count() >= most {
                    let ids = self.sessions.iter().filter(known).map(|session| session.id);
                    let oldest = ids.min();
                    self.sessions.retain(|session| Some(session.id) != oldest);
                }
                let tokens = vec![token.as_bytes()[0]];
                self.sessions.push(Session {
                    id: session,
                    account: *account,
                    expires_at: *expires_at,
                    tokens,
                    opened: Placed::at(self.count + 1, origin),
                });
                Ok(Outcome::SessionOpened {
                    session,
                    expires_at: *expires_at,
                })
            }
            CommandBody::CloseSession { account, session } => {
                self.active(*account)?;
                if self
                    .sessions
                    .iter()
                    .any(|open| open.id == *session && open.account != *account)
                {
                    return Err(Rejection::SessionNotFound { session: *session });
                }
                let before = self.sessions.len();
                self.sessions.retain(|open| open.id != *session);
                let count = (before - self.sessions.len()) as u32;
                let is_known = self.never_open.iter().any(|(id, _)| id == session);
                if count == 0 && !is_known && self.may_come(session.time(), at) {
                    self.never_open.push((*session, *account));
                }
                Ok(Outcome::SessionsClosed { count })
            }
            CommandBody::CloseAllSessions { account, except } => {
                let owner = self.active(*account)?;
                owner.sessions_closed_at = owner.sessions_closed_at.max(at);
                let before = self.sessions.len();
                self.sessions.retain(|open| {
                    open.account != *account
                        || Some(open.id) == *except
                        || !open.opened.is_known_to(origin)
                });
                Ok(Outcome::SessionsClosed {
                    count: (before - self.sessions.len()) as u32,
                })
            }
            CommandBody::Send {
                sender, recipient, ..
            } => {
                self.author(*sender, origin)?;
                if self.author(*recipient, origin).is_err() {
                    return Err(Rejection::RecipientNotFound {
                        recipient: *recipient,
                    });
                }
                let message = MessageId::derive(*sender, request);
                self.add(message, *sender, *recipient, origin);
                Ok(Outcome::MessageSent { message, at })
            }
            CommandBody::MarkDelivered { account, messages } => {
                self.author(*account, origin)?;
                let count = messages
                    .iter()
                    .filter(|id| self.mark(**id, *account, Said::Delivered, at))
                    .count() as u32;
                Ok(Outcome::MarkedDelivered { count })
            }
            CommandBody::MarkRead { account, messages } => {
                self.author(*account, origin)?;
                let count = messages
                    .iter()
                    .filter(|id| self.mark(**id, *account, Said::Read, at))
                    .count() as u32;
                Ok(Outcome::MarkedRead {
                    count,
                    progress: Progress::Done,
                })
            }
            CommandBody::ReadThrough {
                account,
                peer,
                message,
            } => {
                let count = self.read_through(*account, *peer, *message, at, origin)?;
                Ok(Outcome::MarkedRead {
                    count,
                    progress: Progress::Done,
                })
            }
            CommandBody::DeleteMessages {
                account,
                messages,
                scope,
            } => self.delete(*account, messages, *scope, at, origin),
            CommandBody::Expire { before, .. } => {
                // The other branch's housekeeping is not this one's.
                if matches!(origin, Origin::Client) {
                    self.expire(*before, at);
                }
                // How many rows that took is nothing that anybody can see.
                Ok(Outcome::Expired {
                    visited: 0,
                    progress: Progress::Done,
                })
            }
        }
    }

    fn active(&mut self, account: AccountId) -> Result<&mut Account> {
        match self.accounts.iter_mut().find(|known| known.id == account) {
            Some(known) if !known.is_deleted => Ok(known),
            Some(_) => Err(Rejection::AccountDeleted { account }),
            None if self.never_register.contains(&account) => {
                Err(Rejection::AccountDeleted { account })
            }
            None => Err(Rejection::AccountNotFound { account }),
        }
    }

    fn is_active(&self, account: AccountId) -> bool {
        self.accounts
            .iter()
            .any(|known| known.id == account && !known.is_deleted)
    }

    fn may_come(&self, minted: Timestamp, at: Timestamp) -> bool {
        minted >= self.horizon && minted <= at.saturating_add(DAY)
    }

    fn create(
        &mut self,
        request: RequestId,
        at: Timestamp,
        origin: &Origin,
        name: &Username,
        skeleton: &str,
    ) -> Result<Outcome> {
        let account = AccountId::derive(request);
        if self.never_register.contains(&account) {
            return Err(Rejection::AccountDeleted { account });
        }
        if self.accounts.iter().any(|known| known.id == account) {
            return Err(Rejection::RequestIdReused);
        }
        let active: Vec<_> = self
            .accounts
            .iter()
            .filter(|known| !known.is_deleted)
            .collect();
        let same = active.iter().find(|known| known.name == *name);
        let alike = active
            .iter()
            .find(|known| known.looks_like.as_deref() == Some(skeleton));
        let holder = same.or(alike);
        let refused_there = holder.is_some_and(|holder| holder.created.is_known_to(origin));
        let conflict = match (same, alike) {
            (Some(_), _) => Some(Rejection::NameTaken { name: name.clone() }),
            (None, Some(other)) => Some(Rejection::NameConfusable {
                name: name.clone(),
                with: other.name.clone(),
            }),
            (None, None) => None,
        };
        let mut given = name.clone();
        if let Some(conflict) = &conflict {
            if refused_there {
                return Err(conflict.clone());
            }
            let digits = account.as_uuid().simple().to_string();
            let free = (4..=32).step_by(4).find_map(|length| {
                let candidate =
                    Username::parse_existing(&format!("{name}~{}", &digits[32 - length..]))
                        .unwrap();
                (!active.iter().any(|known| known.name == candidate)).then_some(candidate)
            });
            given = free.unwrap();
        }
        self.accounts.push(Account {
            id: account,
            name: given.clone(),
            looks_like: conflict.is_none().then(|| skeleton.to_owned()),
            is_deleted: false,
            password: (at, request),
            password_set: Placed::at(self.count + 1, origin),
            sessions_closed_at: Timestamp::default(),
            created: Placed::at(self.count + 1, origin),
            deleted: Placed::default(),
        });
        if conflict.is_some() {
            let notice = MessageId::derive_notice(account, request);
            self.add(notice, AccountId::SYSTEM, account, origin);
        }
        let credential = CredentialVersion::set_by(request);
        Ok(Outcome::AccountCreated {
            account,
            name: given,
            credential,
        })
    }

    fn join(
        &mut self,
        account: AccountId,
        request: RequestId,
        token: u8,
        verified: CredentialVersion,
        origin: &Origin,
    ) -> Result<Outcome> {
        if self.active(account)?.password.1 != verified.request() {
            return Err(Rejection::StaleCredential);
        }
        let id = SessionId::derive(account, request);
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == id) else {
            return Err(Rejection::SessionClosed { session: id });
        };
        if !session.tokens.contains(&token) {
            session.tokens.push(token);
        }
        session.opened.note(origin);
        Ok(Outcome::SessionOpened {
            session: id,
            expires_at: session.expires_at,
        })
    }

    fn add(&mut self, id: MessageId, sender: AccountId, recipient: AccountId, origin: &Origin) {
        let mut message = Message {
            id,
            placed: Placed::at(self.count + 1, origin),
            sender,
            recipient,
            is_delivered: sender == recipient,
            is_read: sender == recipient,
            hidden_from: BTreeSet::new(),
            is_removed: false,
            never_came: false,
        };
        for side in [sender, recipient] {
            if !self.is_active(side) {
                message.hidden_from.insert(side);
            }
        }
        for (_, by, said) in self.said.iter().filter(|(of, ..)| *of == id) {
            match said {
                Said::Delivered if *by == recipient => message.is_delivered = true,
                Said::Read if *by == recipient => {
                    (message.is_delivered, message.is_read) = (true, true)
                }
                Said::Deleted(DeleteScope::ForMe) if *by == recipient || *by == sender => {
                    message.hidden_from.insert(*by);
                }
                Said::Deleted(DeleteScope::ForBoth) if *by == sender => {
                    message.hidden_from.extend([sender, recipient]);
                }
                _ => {}
            }
        }
        self.said.retain(|(of, ..)| *of != id);
        if message.hidden_from.contains(&sender) && message.hidden_from.contains(&recipient) {
            (message.never_came, message.is_removed) = (true, true);
        } else {
            for (side, peer) in [(sender, recipient), (recipient, sender)] {
                if !message.hidden_from.contains(&side) {
                    self.recent.retain(|entry| *entry != (side, peer));
                    self.recent.insert(0, (side, peer));
                }
            }
        }
        self.messages.push(message);
    }

    fn say(&mut self, id: MessageId, by: AccountId, said: Said, at: Timestamp) {
        let of_message = self.said.iter().filter(|(of, ..)| *of == id).count();
        let entry = (id, by, said);
        if of_message < 8 && self.may_come(id.time(), at) && !self.said.contains(&entry) {
            self.said.push(entry);
        }
    }

    /// Whether that was news.
    fn mark(&mut self, id: MessageId, account: AccountId, said: Said, at: Timestamp) -> bool {
        let Some(message) = self.messages.iter_mut().find(|message| message.id == id) else {
            self.say(id, account, said, at);
            return false;
        };
        if message.is_removed || message.recipient != account || message.sender == account {
            return false;
        }
        let was = match said {
            Said::Read => message.is_read,
            _ => message.is_delivered,
        };
        message.is_delivered = true;
        message.is_read |= said == Said::Read;
        !was
    }

    fn read_through(
        &mut self,
        account: AccountId,
        peer: AccountId,
        id: MessageId,
        at: Timestamp,
        origin: &Origin,
    ) -> Result<u32> {
        self.author(account, origin)?;
        let not_found = Err(Rejection::MessageNotFound { message: id });
        if peer != AccountId::SYSTEM && !self.accounts.iter().any(|known| known.id == peer) {
            return not_found;
        }
        let Some(target) = self.messages.iter().position(|message| message.id == id) else {
            self.say(id, account, Said::Read, at);
            return Ok(0);
        };
        if self.messages[target].never_came {
            return Ok(0);
        }
        if !self.messages[target].is_between(account, peer) {
            return not_found;
        }
        let mut count = 0;
        let through = self.messages[target].placed.on_branch_of(origin);
        for message in &mut self.messages {
            let place = message.placed.on_branch_of(origin);
            let was_seen = message.id == id || place.is_some() && place <= through;
            if was_seen
                && message.sender == peer
                && message.recipient == account
                && account != peer
                && !message.is_removed
            {
                count += u32::from(!message.is_read && !message.hidden_from.contains(&account));
                (message.is_read, message.is_delivered) = (true, true);
            }
        }
        Ok(count)
    }

    fn delete(
        &mut self,
        account: AccountId,
        ids: &[MessageId],
        scope: DeleteScope,
        at: Timestamp,
        origin: &Origin,
    ) -> Result<Outcome> {
        self.author(account, origin)?;
        let mut refused = Vec::new();
        for id in ids {
            let Some(message) = self.messages.iter().find(|message| message.id == *id) else {
                continue;
            };
            if message.is_removed || message.sender == account {
                continue;
            }
            let rejection = match scope {
                _ if message.recipient != account => Rejection::MessageNotFound { message: *id },
                DeleteScope::ForBoth => Rejection::NotSender { message: *id },
                DeleteScope::ForMe => continue,
            };
            match origin {
                _ if message.placed.is_known_to(origin) => return Err(rejection),
                _ => refused.push(*id),
            }
        }
        let mut count = 0;
        for id in ids.iter().filter(|id| !refused.contains(id)) {
            let Some(index) = self.messages.iter().position(|message| message.id == *id) else {
                self.say(*id, account, Said::Deleted(scope), at);
                continue;
            };
            let message = &mut self.messages[index];
            if message.is_removed {
                continue;
            }
            count += u32::from(message.hidden_from.insert(account));
            if scope == DeleteScope::ForBoth {
                message
                    .hidden_from
                    .extend([message.sender, message.recipient]);
            }
            if !self.is_seen(&self.messages[index]) {
                self.messages[index].is_removed = true;
                if id.time() < self.horizon {
                    self.messages.remove(index);
                }
            }
        }
        self.tidy_lists();
        Ok(Outcome::MessagesDeleted { count })
    }

    fn expire(&mut self, before: Timestamp, at: Timestamp) {
        self.horizon = self
            .horizon
            .max(before.min(self.newest.saturating_sub(DAY * 30)));
        let now = at.min(self.newest.saturating_add(DAY));
        let horizon = self.horizon;
        self.answers
            .retain(|(_, request, ..)| request.time() >= horizon);
        self.said.retain(|(id, ..)| id.time() >= horizon);
        self.never_open.retain(|(id, _)| id.time() >= horizon);
        self.never_register.retain(|id| id.time() >= horizon);
        self.sessions.retain(|session| session.expires_at > now);
        for index in 0..self.messages.len() {
            self.messages[index].is_removed |= !self.is_seen(&self.messages[index]);
        }
        self.messages
            .retain(|message| !message.is_removed || message.id.time() >= horizon);
        self.tidy_lists();
    }

    fn is_seen(&self, message: &Message) -> bool {
        [message.sender, message.recipient]
            .iter()
            .any(|side| !message.hidden_from.contains(side) && self.is_active(*side))
    }

    /// A conversation of which nothing can be seen leaves its list.
    fn tidy_lists(&mut self) {
        let messages = &self.messages;
        self.recent.retain(|(side, peer)| {
            messages
                .iter()
                .any(|message| message.is_shown(*side, *peer))
        });
    }
}

impl Message {
    fn is_between(&self, one: AccountId, other: AccountId) -> bool {
        [(one, other), (other, one)].contains(&(self.sender, self.recipient))
    }

    fn is_shown(&self, to: AccountId, peer: AccountId) -> bool {
        self.is_between(to, peer) && !self.is_removed && !self.hidden_from.contains(&to)
    }
}

/// What the client wrote.
fn content(command: &Command) -> String {
    match &command.body {
        CommandBody::CreateAccount { name, .. } => format!("create {name}"),
        CommandBody::ChangePassword { .. } => "change password".to_owned(),
        CommandBody::DeleteAccount { .. } => "delete account".to_owned(),
        CommandBody::OpenSession { .. } => "open".to_owned(),
        CommandBody::Expire { .. } => "expire".to_owned(),
        CommandBody::Send {
            recipient, body, ..
        } => format!("send {recipient} {}", body.as_str()),
        others => format!("{others:?}"),
    }
}
