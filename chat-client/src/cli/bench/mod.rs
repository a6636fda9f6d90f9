//! Measures a cluster under load, as its users meet it: latencies from the moment at which a message was to leave, the
//! longest time without any answer, and at the end whether everything acknowledged is there exactly once.

mod crowd;
mod load;
mod report;
mod stats;
mod verify;

use super::args::BenchArgs;
use super::failure::Failure;
use super::output;
use super::progress;
use super::settings::{Format, Settings};
use crowd::Crowd;
use report::Report;
use stats::Measured;
use verify::Verdict;

pub(super) async fn run(settings: &Settings, args: &BenchArgs) -> Result<(), Failure> {
    let crowd = Crowd::gather(settings, args).await?;
    let outcome = measure(&crowd, args).await;
    if !args.keep {
        let bar = progress::bar(crowd.size(), "accounts deleted");
        crowd.leave(&bar).await;
        bar.finish_and_clear();
    }
    let (measured, verdict) = outcome?;
    let report = Report {
        args,
        measured: &measured,
        verdict: &verdict,
    };
    match settings.format {
        Format::Text => output::data(&report.text())?,
        Format::Json => output::data(&super::json::line(&report.json()))?,
    }
    output::flush()?;
    match report.verdict.complaint() {
        None => Ok(()),
        Some(complaint) => Err(Failure::Other(complaint)),
    }
}

async fn measure(crowd: &Crowd, args: &BenchArgs) -> Result<(Measured, Verdict), Failure> {
    let measured = load::run(crowd, args).await?;
    let verdict = verify::verify(crowd, &measured).await?;
    Ok((measured, verdict))
}
