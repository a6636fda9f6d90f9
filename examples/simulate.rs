//! Seeds at will: clusters in virtual time, with every fault, until a rule breaks.
//!
//! ```text
//! cargo run --release --example simulate -- --seeds 10000
//! cargo run --release --example simulate -- --seed 366 --profile partitions
//! cargo run --release --example simulate -- --mutations
//! ```
#![allow(clippy::print_stdout, reason = "it reports")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use chat_replication::replica::Mutation;
use chat_replication::sim::{Failure, Profile, Report, SimOptions, run, run_traced};
use chat_replication::types::Mode;
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

/// Runs simulated clusters, one for each seed, and checks what must hold after every step.
#[derive(Parser)]
struct Args {
    /// How many seeds to run, from --first on.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Tells the story of this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// What a view needs; drawn from the seed by default.
    #[arg(long)]
    mode: Option<ModeName>,
    /// Which faults there are: calm, crashes, outages, members, partitions or everything; drawn from the seed by default.
    #[arg(long, value_parser = parse_profile)]
    profile: Option<Profile>,
    /// How many faults are injected into each schedule.
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
    /// How many lines of the story of a failure are told, the last ones.
    #[arg(long, default_value_t = 2000, value_name = "N")]
    lines: usize,
    /// Breaks each rule on purpose, and tells how many seeds it took to notice.
    #[arg(long)]
    mutations: bool,
    /// Breaks this one.
    #[arg(long, value_parser = parse_mutation)]
    mutation: Option<Mutation>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    Available,
    Consistent,
}

fn parse_profile(name: &str) -> Result<Profile, String> {
    let known = Profile::ALL.into_iter();
    known
        .clone()
        .find(|profile| profile.to_string() == name)
        .ok_or_else(|| format!("it is none of {}", names(known)))
}

fn parse_mutation(name: &str) -> Result<Mutation, String> {
    let known = Mutation::ALL
        .into_iter()
        .map(|mutation| format!("{mutation:?}"));
    let found = Mutation::ALL
        .into_iter()
        .find(|mutation| format!("{mutation:?}") == name);
    found.ok_or_else(|| format!("it is none of {}", names(known)))
}

fn names(of: impl Iterator<Item = impl ToString>) -> String {
    of.map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A broken rule may show as a panic; the failure says so, with the story.
    std::panic::set_hook(Box::new(|_| {}));
    let mut options = SimOptions {
        profile: args.profile,
        mutation: args.mutation,
        mode: args.mode.map(|mode| match mode {
            ModeName::Available => Mode::Available,
            ModeName::Consistent => Mode::Consistent,
        }),
        ..SimOptions::default()
    };
    options.steps = args.steps.unwrap_or(options.steps);
    options.trace_lines = args.lines;
    if args.mutations {
        return mutations(args.first..args.first + args.seeds, &options);
    }
    if let Some(seed) = args.seed {
        return match run_traced(seed, &options) {
            Ok(report) => {
                println!("{report:#?}");
                ExitCode::SUCCESS
            }
            Err(failure) => tell(&failure),
        };
    }
    let begun = Instant::now();
    let bar = ProgressBar::new(args.seeds);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    match run_all(args.first..args.first + args.seeds, &options, &bar) {
        Ok(counts) => {
            bar.finish_and_clear();
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "{} seeds passed in {seconds:.1} s, {:.0} seeds/s",
                args.seeds,
                args.seeds as f64 / seconds
            );
            for (what, times) in counts {
                println!("{times:>12}  {what}");
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            bar.finish_and_clear();
            tell(&failure)
        }
    }
}

fn tell(failure: &Failure) -> ExitCode {
    println!("{failure}");
    ExitCode::FAILURE
}

/// Breaks each rule, and looks for a seed that notices.
fn mutations(seeds: std::ops::Range<u64>, options: &SimOptions) -> ExitCode {
    let mut survivors = 0;
    for mutation in Mutation::ALL {
        let against = SimOptions::against(mutation);
        let options = SimOptions {
            trace_lines: 1,
            profile: options.profile.or(against.profile),
            mode: options.mode.or(against.mode),
            steps: options.steps,
            ..against
        };
        match run_all(seeds.clone(), &options, &ProgressBar::hidden()) {
            Err(failure) => {
                let took = failure.seed - seeds.start + 1;
                let why = failure.violation.chars().take(120).collect::<String>();
                println!("{:<24} {took:>6} seeds  {why}", format!("{mutation:?}"));
            }
            Ok(_) => {
                survivors += 1;
                println!(
                    "{:<24}   SURVIVED all {}",
                    format!("{mutation:?}"),
                    seeds.end - seeds.start
                );
            }
        }
    }
    match survivors {
        0 => {
            println!("all {} broken rules were noticed", Mutation::ALL.len());
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

type Counts = BTreeMap<&'static str, u64>;

/// Runs seeds on all cores until one fails; the lowest failure, or what all came to.
fn run_all(
    seeds: std::ops::Range<u64>,
    options: &SimOptions,
    bar: &ProgressBar,
) -> Result<Counts, Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let counts = Mutex::new(Counts::new());
    let failures: Mutex<Vec<Box<Failure>>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match run(seed, options) {
                        Ok(report) => add(&mut counts.lock().expect("no run panics"), &report),
                        Err(failure) => {
                            failed.store(true, Ordering::Relaxed);
                            failures.lock().expect("no run panics").push(failure);
                        }
                    }
                    bar.inc(1);
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no run panics");
    match failures.into_iter().min_by_key(|failure| failure.seed) {
        Some(failure) => Err(failure),
        None => Ok(counts.into_inner().expect("no run panics")),
    }
}

fn add(counts: &mut Counts, report: &Report) {
    for (what, times) in &report.counts {
        *counts.entry(what).or_default() += times;
    }
}
