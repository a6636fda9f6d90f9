//! What is told of a run.

use std::time::Duration;

use serde_json::{Value, json};

use super::stats::{Latencies, Measured};
use super::verify::Verdict;
use crate::cli::args::BenchArgs;

/// How long the longest bar of the histogram is.
const BAR: u64 = 40;

pub(super) struct Report<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) measured: &'a Measured,
    pub(super) verdict: &'a Verdict,
}

impl Report<'_> {
    pub(super) fn text(&self) -> String {
        let (args, measured, verdict) = (self.args, self.measured, self.verdict);
        let how = match args.rate {
            Some(rate) => format!("open loop, {rate}/s, clients {}", args.clients),
            None => format!(
                "closed loop, clients {}, in flight {} each",
                args.clients, args.in_flight
            ),
        };
        let how = match args.stream {
            true => format!("{how}, streamed"),
            false => how,
        };
        let mut lines = vec![
            format!(
                "{how}, pairs {}, bytes {}, recipients offline {} %, {:.1} s",
                args.pairs,
                args.size,
                args.offline,
                measured.took.as_secs_f64()
            ),
            format!(
                "acknowledged  {} ({:.1}/s), failed {}{}",
                self.acknowledged(),
                self.per_second(),
                self.failed(),
                self.failure_kinds()
            ),
            format!(
                "{:15} {:>9} {:>9} {:>9} {:>9}",
                "", "p50", "p99", "p99.9", "max"
            ),
            row("acknowledgement", &measured.acknowledgement),
            row("delivery", &measured.delivery),
            format!(
                "longest gap     {:>9} without an acknowledgement",
                millis(measured.longest_gap.as_micros() as u64)
            ),
        ];
        if measured.held_back > 0 {
            lines.push(format!(
                "{} messages were not sent: too many were under way",
                measured.held_back
            ));
        }
        lines.push("acknowledgements by latency:".into());
        lines.extend(histogram(&measured.acknowledgement));
        lines.push(match verdict.complaint() {
            Some(complaint) => complaint,
            None => format!(
                "verified: each of the {} acknowledged messages is there exactly once",
                verdict.present
            ),
        });
        lines.join("\n")
    }

    pub(super) fn json(&self) -> Value {
        let (args, measured, verdict) = (self.args, self.measured, self.verdict);
        let histogram: Vec<Value> = buckets(&measured.acknowledgement)
            .into_iter()
            .map(|(below, count)| json!({ "below_us": below, "count": count }))
            .collect();
        json!({
            "type": "bench",
            "clients": args.clients,
            "in_flight": args.rate.is_none().then_some(args.in_flight),
            "rate": args.rate,
            "stream": args.stream,
            "size": args.size,
            "pairs": args.pairs,
            "offline_percent": args.offline,
            "seconds": measured.took.as_secs_f64(),
            "acknowledged": self.acknowledged(),
            "per_second": self.per_second(),
            "failed": self.failed(),
            "failures": measured.failures,
            "held_back": measured.held_back,
            "acknowledgement_us": percentiles(&measured.acknowledgement),
            "delivery_us": percentiles(&measured.delivery),
            "longest_gap_us": measured.longest_gap.as_micros() as u64,
            "histogram": histogram,
            "verified": {
                "present": verdict.present,
                "missing": verdict.missing,
                "doubled": verdict.doubled,
                "strange": verdict.strange,
                "repeated": verdict.repeated,
                "unanswered_present": verdict.unanswered_present,
            },
        })
    }

    fn acknowledged(&self) -> u64 {
        self.measured
            .acknowledged
            .iter()
            .map(|a| a.len() as u64)
            .sum()
    }

    fn failed(&self) -> u64 {
        self.measured.failures.values().sum()
    }

    fn failure_kinds(&self) -> String {
        let kinds = self.measured.failures.iter();
        kinds
            .map(|(kind, count)| format!(", {kind} {count}"))
            .collect()
    }

    fn per_second(&self) -> f64 {
        let per_second = self.acknowledged() as f64
            / self
                .measured
                .took
                .max(Duration::from_micros(1))
                .as_secs_f64();
        (per_second * 10.0).round() / 10.0
    }
}

fn row(what: &str, latencies: &Latencies) -> String {
    if latencies.is_empty() {
        return format!("{what:15} {:>9}", "none");
    }
    let at = |quantile| millis(latencies.value_at_quantile(quantile));
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    format!(
        "{what:15} {p50:>9} {p99:>9} {p999:>9} {:>9}",
        millis(latencies.max())
    )
}

fn percentiles(latencies: &Latencies) -> Value {
    json!({
        "count": latencies.len(),
        "p50": latencies.value_at_quantile(0.5),
        "p99": latencies.value_at_quantile(0.99),
        "p999": latencies.value_at_quantile(0.999),
        "max": latencies.max(),
    })
}

fn millis(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1000.0)
}

fn histogram(latencies: &Latencies) -> Vec<String> {
    let buckets = buckets(latencies);
    let most = buckets
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1);
    let line = |(below, count): &(u64, u64)| {
        // What is there shows, however little it is.
        let length = (count * BAR / most).max(u64::from(*count > 0));
        let bar = "#".repeat(usize::try_from(length).unwrap_or(0));
        format!("  < {:>10} {count:>9} {bar}", millis(*below))
    };
    buckets.iter().map(line).collect()
}

/// How many latencies lie below each power of two of a quarter of a millisecond and above the one before.
fn buckets(latencies: &Latencies) -> Vec<(u64, u64)> {
    if latencies.is_empty() {
        return Vec::new();
    }
    let (mut buckets, mut from, mut below) = (Vec::new(), 0, 250);
    loop {
        let count = latencies.count_between(from, below - 1);
        if count > 0 || !buckets.is_empty() {
            buckets.push((below, count));
        }
        if below > latencies.max() {
            return buckets;
        }
        (from, below) = (below, below * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_holds_every_latency_once() {
        let mut latencies = Latencies::new_with_bounds(1, 3_600_000_000, 3).expect("bounds");
        for micros in [300, 900, 999, 1000, 5000] {
            latencies.record(micros).expect("in bounds");
        }
        let buckets = buckets(&latencies);
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 5);
        assert_eq!(buckets.first(), Some(&(500, 1)));
        assert_eq!(histogram(&latencies).len(), buckets.len());
    }
}
