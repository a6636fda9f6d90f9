//! The layers of the crates, as their sources name each other: the map that cannot go out of date.
//!
//! Each failure prints the file and the line, and what to do.

mod circles;
mod rules;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::circles::circles;
use crate::rules::{CIRCLES, LAYERS, NEVER, SAME_THING, TWO_THINGS, UPWARD};
use crate::source::{Source, sources};

const CRATES: [&str; 4] = [
    "chat-client",
    "chat-core",
    "chat-replication",
    "chat-server",
];

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(of)
        .join("src")
}

fn none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Which layer a module of chat-server is in: the longest of the paths that it is below.
fn layer(module: &[String]) -> Option<usize> {
    let path = module.join("::");
    let below = |of: &str| path == of || path.starts_with(&format!("{of}::"));
    let at = |of: &&str| LAYERS.iter().position(|beside| beside.contains(of));
    let all = LAYERS.iter().flat_map(|beside| beside.iter());
    let longest = all.filter(|of| below(of)).max_by_key(|of| of.len());
    longest.and_then(at)
}

/// Of the layers beside each other, the one that a module is in.
fn side(module: &[String]) -> Option<&'static str> {
    let path = module.join("::");
    let below = |of: &&&str| path == **of || path.starts_with(&format!("{of}::"));
    let all = LAYERS.iter().flat_map(|beside| beside.iter());
    all.filter(below).max_by_key(|of| of.len()).copied()
}

#[test]
fn a_layer_names_only_those_below_it() {
    let mut broken = Vec::new();
    let all = sources(&folder("chat-server"));
    let modules: BTreeSet<Vec<String>> = all.iter().map(|source| source.module.clone()).collect();
    let mut known: BTreeSet<(&str, &str)> = UPWARD.iter().copied().collect();
    let is_root = |source: &&Source| source.module.is_empty() || source.module[0] == "fuzzing";
    for source in all.iter().filter(|source| !is_root(source)) {
        let Some(mine) = layer(&source.module) else {
            broken.push(format!(
                "{}: it is in no layer; move it into one of {LAYERS:?}, or say in tests/layers/rules.rs where it stands",
                source.path
            ));
            continue;
        };
        for (line, named) in source.names(&modules) {
            let Some(theirs) = layer(&named) else {
                continue;
            };
            let beside = theirs == mine && side(&named) != side(&source.module);
            let told = named.join("::");
            let is_known = |up: &&(&str, &str)| up.0 == source.path && up.1 == told;
            if let Some(up) = UPWARD.iter().find(is_known) {
                known.remove(up);
                continue;
            }
            if theirs < mine || beside {
                broken.push(format!(
                    "{}:{line}: names {}, which is not below it; move what both need down, or have it handed in from above",
                    source.path,
                    told
                ));
            }
        }
    }
    broken.extend(known.into_iter().map(|(path, named)| {
        format!(
            "{path} does not name {named} any more: take it off the list in tests/layers/rules.rs"
        )
    }));
    none(&broken);
}

#[test]
fn nothing_names_what_it_never_may() {
    let mut broken = Vec::new();
    for rule in NEVER {
        let all = sources(&folder(rule.of));
        let below = |source: &&Source| {
            let prefix: Vec<&str> = rule.below.split("::").filter(|it| !it.is_empty()).collect();
            source.module.len() >= prefix.len()
                && source
                    .module
                    .iter()
                    .zip(&prefix)
                    .all(|(one, other)| one == other)
        };
        for word in rule.words {
            let mut excepted: BTreeSet<&str> = rule.except.iter().copied().collect();
            for source in all.iter().filter(below) {
                let is_excepted = rule.except.contains(&source.path.as_str());
                for line in source.lines_with(word) {
                    excepted.remove(source.path.as_str());
                    if !is_excepted {
                        broken.push(format!(
                            "{}:{line}: names {word}; {}: move it to where {word} belongs, and hand in what is needed here",
                            source.path, rule.why
                        ));
                    }
                }
            }
            if rule.words.len() == 1 {
                broken.extend(excepted.into_iter().map(|path| {
                    format!("{path} does not name {word} any more: take it off the list in tests/layers/rules.rs")
                }));
            }
        }
    }
    none(&broken);
}

#[test]
fn no_modules_need_each_other() {
    let mut broken = Vec::new();
    let mut known: BTreeSet<&str> = CIRCLES.iter().copied().collect();
    for of in CRATES {
        for circle in circles(&sources(&folder(of))) {
            let told = format!("{of}: {}", circle.join(", "));
            if !known.remove(told.as_str()) {
                broken.push(format!(
                    "{told}: these modules name each other in a circle; move what they share into one that names none of them"
                ));
            }
        }
    }
    broken.extend(known.into_iter().map(|circle| {
        format!("{circle}: is no circle any more, or another one: take it off the list in tests/layers/rules.rs")
    }));
    none(&broken);
}

#[test]
fn a_name_of_a_module_stands_for_one_thing() {
    let mut broken = Vec::new();
    for of in CRATES {
        let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for source in sources(&folder(of)) {
            if let Some(name) = source.module.last() {
                let path = source.path.clone();
                named.entry(name.clone()).or_default().push(path);
            }
        }
        let lists = SAME_THING.iter().chain(TWO_THINGS);
        let lists = lists.filter(|(name, _)| *name == of);
        let same: Vec<&str> = lists.flat_map(|(_, names)| names.iter().copied()).collect();
        for (name, paths) in &named {
            if paths.len() > 1 && !same.contains(&name.as_str()) {
                broken.push(format!(
                    "{of}: {name} is the name of {}; give each thing a name of its own, or add it to SAME_THING in \
                     tests/layers/rules.rs if it is one thing, seen from several layers",
                    paths.join(" and ")
                ));
            }
        }
        let is_one = |name: &&&str| named.get(**name).is_none_or(|paths| paths.len() < 2);
        broken.extend(same.iter().filter(is_one).map(|name| {
            format!("{of}: {name} is the name of one module by now: take it off the list in tests/layers/rules.rs")
        }));
    }
    none(&broken);
}
