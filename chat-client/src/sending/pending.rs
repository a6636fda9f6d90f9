//! What was handed over and has no answer yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::api::SendMessageRequest;
use crate::endpoint::Endpoint;
use crate::error::{Error, GaveUp};
use crate::ids::RequestId;
use crate::types::Sent;

/// A message on its way to the stream.
#[derive(Debug)]
pub(super) struct Queued {
    id: RequestId,
    request: SendMessageRequest,
    since: Instant,
    answer: oneshot::Sender<Result<Sent, Error>>,
    /// Refused for the moment.
    refused: Option<String>,
}

impl Queued {
    pub(super) fn new(
        id: RequestId,
        recipient: &str,
        body: &str,
        answer: oneshot::Sender<Result<Sent, Error>>,
    ) -> Self {
        let request = SendMessageRequest {
            request_id: id.to_string(),
            recipient: recipient.into(),
            body: body.into(),
        };
        Queued {
            id,
            request,
            since: Instant::now(),
            answer,
            refused: None,
        }
    }
}

/// All of them, in the order in which they were handed over.
#[derive(Debug, Default)]
pub(super) struct Pending {
    messages: BTreeMap<u64, Queued>,
    /// By the id as it travels. Answers tell nothing but the id, so of several under one id only the first is under way.
    places: HashMap<String, VecDeque<u64>>,
    next: u64,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes a message in, and returns its request, if it can be sent now.
    pub(super) fn take(&mut self, queued: Queued) -> Option<SendMessageRequest> {
        let request = queued.request.clone();
        let places = self.places.entry(request.request_id.clone()).or_default();
        places.push_back(self.next);
        let is_first = places.len() == 1;
        self.messages.insert(self.next, queued);
        self.next += 1;
        is_first.then_some(request)
    }

    /// All requests, to be sent again.
    pub(super) fn all(&mut self) -> Vec<SendMessageRequest> {
        let mut all = Vec::with_capacity(self.messages.len());
        for (place, message) in &mut self.messages {
            message.refused = None;
            let places = self.places.get(&message.request.request_id);
            if places.and_then(VecDeque::front) == Some(place) {
                all.push(message.request.clone());
            }
        }
        all
    }

    /// A message was answered for good. Late second answers, to what was sent twice, mean nothing. Returns the next
    /// request under the same id.
    pub(super) fn answer(
        &mut self,
        request_id: &str,
        answer: Result<Sent, Error>,
    ) -> Option<SendMessageRequest> {
        let places = self.places.get_mut(request_id)?;
        let message = places.pop_front().and_then(|at| self.messages.remove(&at));
        let next = places.front().and_then(|at| self.messages.get(at));
        let next = next.map(|message| message.request.clone());
        if next.is_none() {
            self.places.remove(request_id);
        }
        if let Some(message) = message {
            // Whoever does not want to know has dropped the other end.
            let _ = message.answer.send(answer);
        }
        next
    }

    /// A message was refused for the moment.
    pub(super) fn refuse(&mut self, request_id: &str, why: String) {
        let place = self.places.get(request_id).and_then(VecDeque::front);
        if let Some(message) = place.and_then(|place| self.messages.get_mut(place)) {
            message.refused = Some(why);
        }
    }

    /// The requests of those that were refused for the moment, to be sent again.
    pub(super) fn refused(&mut self) -> Vec<SendMessageRequest> {
        let refused = self.messages.values_mut();
        refused
            .filter_map(|message| message.refused.take().map(|_| message.request.clone()))
            .collect()
    }

    /// Gives up on what has waited too long.
    pub(super) fn expire(&mut self, limit: Duration, asked: &[(Endpoint, String)]) {
        let is_old = |message: &Queued| message.since.elapsed() >= limit;
        let old: Vec<u64> = self
            .messages
            .iter()
            .filter_map(|(place, message)| is_old(message).then_some(*place))
            .collect();
        for place in old {
            let Some(message) = self.messages.remove(&place) else {
                continue;
            };
            if let Some(places) = self.places.get_mut(&message.request.request_id) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.places.remove(&message.request.request_id);
                }
            }
            let error = gave_up(&message, asked);
            let _ = message.answer.send(Err(error));
        }
    }

    /// Gives up on everything, for a reason that concerns everything.
    pub(super) fn fail(&mut self, error: impl Fn() -> Error) {
        self.places.clear();
        for message in std::mem::take(&mut self.messages).into_values() {
            let _ = message.answer.send(Err(error()));
        }
    }
}

fn gave_up(message: &Queued, asked: &[(Endpoint, String)]) -> Error {
    let why = |text: &String| message.refused.as_ref().unwrap_or(text).clone();
    let gave_up = GaveUp {
        attempts: asked
            .iter()
            .map(|(endpoint, text)| (endpoint.clone(), why(text)))
            .collect(),
        after: message.since.elapsed(),
        request_id: Some(message.id),
    };
    match message.refused {
        Some(_) => Error::Unavailable(gave_up),
        None => Error::Timeout(gave_up),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn queued(id: RequestId, body: &str) -> (Queued, oneshot::Receiver<Result<Sent, Error>>) {
        let (answer, answered) = oneshot::channel();
        (Queued::new(id, "bob", body, answer), answered)
    }

    fn failed() -> Result<Sent, Error> {
        Err(Error::Protocol("as asked".into()))
    }

    #[test]
    fn of_several_under_one_id_one_is_under_way() {
        let mut pending = Pending::default();
        let id = RequestId::mint();
        let (first, mut first_answer) = queued(id, "one");
        let (second, mut second_answer) = queued(id, "two");
        assert!(pending.take(first).is_some());
        assert!(pending.take(second).is_none());
        assert_eq!(pending.all().len(), 1);
        let next = pending.answer(&id.to_string(), failed()).unwrap();
        assert_eq!(next.body, "two");
        assert!(first_answer.try_recv().is_ok() && second_answer.try_recv().is_err());
        assert!(pending.answer(&id.to_string(), failed()).is_none());
        assert!(second_answer.try_recv().is_ok() && pending.is_empty());
        assert!(pending.answer(&id.to_string(), failed()).is_none());
    }

    #[test]
    fn what_is_refused_for_the_moment_is_sent_again_alone() {
        let mut pending = Pending::default();
        let ids = [RequestId::mint(), RequestId::mint()];
        for id in ids {
            pending.take(queued(id, "hello").0);
        }
        pending.refuse(&ids[1].to_string(), "no leader".into());
        let again = pending.refused();
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].request_id, ids[1].to_string());
        assert!(pending.refused().is_empty());
        let all = pending.all();
        let all: Vec<_> = all.iter().map(|request| &request.request_id).collect();
        assert_eq!(all, [&ids[0].to_string(), &ids[1].to_string()], "in order");
    }

    #[test]
    fn what_waits_too_long_is_given_up_with_its_reason() {
        let mut pending = Pending::default();
        let (silent, mut silent_answer) = queued(RequestId::mint(), "hello");
        let id = RequestId::mint();
        let (refused, mut refused_answer) = queued(id, "hello");
        pending.take(silent);
        pending.take(refused);
        pending.refuse(&id.to_string(), "no leader".into());
        pending.expire(Duration::from_secs(3600), &[]);
        assert_eq!(pending.len(), 2);
        pending.expire(Duration::ZERO, &[]);
        assert!(pending.is_empty());
        let error = silent_answer.try_recv().unwrap().unwrap_err();
        assert!(matches!(error, Error::Timeout(_)), "{error}");
        let error = refused_answer.try_recv().unwrap().unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
    }
}
