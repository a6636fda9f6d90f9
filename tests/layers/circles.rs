//! Modules that name each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

type Module = Vec<String>;

/// The groups of modules each of which leads to all the others of its group.
pub(crate) fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let modules: BTreeSet<Module> = sources.iter().map(|source| source.module.clone()).collect();
    let mut named: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for source in sources {
        let names = source.names(&modules).into_iter().map(|(_, module)| module);
        named
            .entry(source.module.clone())
            .or_default()
            .extend(names);
    }
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = modules
        .iter()
        .map(|from| (from, reach(from, &named)))
        .collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (from, to) in &reached {
        let circle = to.iter().filter(|other| reached[**other].contains(from));
        let circle: Vec<String> = circle.map(|module| module.join("::")).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reach<'a>(from: &Module, named: &'a BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = named.get(from).into_iter().flatten().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(named.get(module).into_iter().flatten());
        }
    }
    reached
}
