//! Whether everything that was acknowledged is there exactly once.

use std::collections::BTreeMap;

use super::crowd::Crowd;
use super::load::read_body;
use super::stats::Measured;
use crate::cli::failure::Failure;
use crate::cli::progress;
use crate::types::PageRequest;

const PAGE: u32 = 1000;

/// What the histories hold, compared with what was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Acknowledged, and there exactly once.
    pub(super) present: u64,
    /// Acknowledged, and not there.
    pub(super) missing: u64,
    /// There more than once, acknowledged or not.
    pub(super) doubled: u64,
    /// There, and never sent.
    pub(super) strange: u64,
    /// Received more than once by a recipient.
    pub(super) repeated: u64,
    /// Sent without an answer, and there all the same.
    pub(super) unanswered_present: u64,
}

pub(super) async fn verify(crowd: &Crowd, measured: &Measured) -> Result<Verdict, Failure> {
    let mut verdict = Verdict {
        repeated: measured.repeated,
        ..Verdict::default()
    };
    let bar = progress::bar(crowd.pairs.len() as u64, "histories checked");
    for (at, pair) in crowd.pairs.iter().enumerate() {
        let mut found = BTreeMap::<u64, u64>::new();
        let mut request = Some(PageRequest::first(PAGE));
        while let Some(page) = request {
            let page = pair.sender.list_history(&pair.recipient_name, page).await?;
            request = page.next_request(PAGE);
            for message in &page.items {
                match read_body(&message.body) {
                    Some((number, _)) => *found.entry(number).or_default() += 1,
                    None => verdict.strange += 1,
                }
            }
        }
        verdict.compare(&found, measured, at);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(verdict)
}

impl Verdict {
    fn compare(&mut self, found: &BTreeMap<u64, u64>, measured: &Measured, pair: usize) {
        let (acknowledged, unknown) = (&measured.acknowledged[pair], &measured.unknown[pair]);
        for number in acknowledged {
            match found.get(number) {
                None => self.missing += 1,
                Some(1) => self.present += 1,
                Some(_) => {}
            }
        }
        for (number, times) in found {
            self.doubled += u64::from(*times > 1);
            self.unanswered_present += u64::from(unknown.contains(number));
            self.strange += u64::from(!acknowledged.contains(number) && !unknown.contains(number));
        }
    }

    /// What is wrong, if anything is.
    pub(super) fn complaint(&self) -> Option<String> {
        let Self {
            missing,
            doubled,
            strange,
            repeated,
            ..
        } = self;
        (missing + doubled + strange + repeated > 0).then(|| {
            format!(
                "the cluster broke its promise: {missing} acknowledged messages are missing, {doubled} are there more \
                 than once, {strange} were never sent, {repeated} were delivered more than once"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::stats::Stats;

    #[test]
    fn loss_and_repetition_are_seen() {
        let stats = Stats::start(1);
        for number in 0..4 {
            stats.answered(0, number, stats.started(), None);
        }
        let error = crate::Error::Protocol("lost".into());
        stats.answered(0, 4, stats.started(), Some(&error));
        let measured = stats.measured();
        let verdict = |found: &[(u64, u64)]| {
            let mut verdict = Verdict::default();
            verdict.compare(&found.iter().copied().collect(), &measured, 0);
            verdict
        };
        let good = verdict(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]);
        assert_eq!((good.present, good.unanswered_present), (4, 1));
        assert_eq!(good.complaint(), None);
        let bad = verdict(&[(0, 1), (1, 2), (3, 1), (4, 2), (9, 1)]);
        assert_eq!((bad.missing, bad.doubled, bad.strange), (1, 2, 1));
        assert!(bad.complaint().is_some());
    }
}
