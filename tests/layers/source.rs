//! What the sources of a crate name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A source file, without comments and tests.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where it is, below the crate's `src`.
    pub(crate) path: String,
    /// The module that it is: empty for the crate itself.
    pub(crate) module: Vec<String>,
    text: String,
}

/// All of a crate but its tests, in order.
pub(crate) fn sources(folder: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    collect(folder, folder, &mut found);
    assert!(
        !found.is_empty(),
        "there are sources in {}",
        folder.display()
    );
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            collect(root, &path, found);
            continue;
        }
        let below = path.strip_prefix(root).expect("it is below the root");
        let name = below.to_string_lossy().replace('\\', "/");
        let Some(stem) = name.strip_suffix(".rs") else {
            continue;
        };
        let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        if module.iter().any(|part| part == "tests") {
            continue;
        }
        let last = module.last().map(String::as_str);
        if matches!(last, Some("mod" | "lib" | "main")) {
            module.pop();
        }
        let text = fs::read_to_string(&path).expect("it can be read");
        found.push(Source {
            path: name,
            module,
            text: without_tests(&text),
        });
    }
}

/// The module of tests stands at the end of its file.
fn without_tests(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let code = |line: &str| match line.trim_start().starts_with("//") {
        true => String::new(),
        false => line.to_owned(),
    };
    let lines: Vec<String> = text[..end].lines().map(code).collect();
    lines.join("\n")
}

fn is_part(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

impl Source {
    /// The lines in which a word stands as the start of a path, or as a crate that is used.
    pub(crate) fn lines_with(&self, word: &str) -> Vec<usize> {
        let stands = |line: &str| {
            let mut from = 0;
            while let Some(at) = line[from..].find(word) {
                let begin = from + at;
                let before = line[..begin].chars().next_back();
                let after = &line[begin + word.len()..];
                let begins = !before.is_some_and(|it| is_part(it) || it == ':' || it == '"');
                if begins && (after.starts_with("::") || after.starts_with(';')) {
                    return true;
                }
                from = begin + word.len();
            }
            false
        };
        let lines = self.text.lines().enumerate();
        lines
            .filter(|(_, line)| stands(line))
            .map(|(number, _)| number + 1)
            .collect()
    }

    /// The modules of its own crate that it names, each with the line, but for those above and below it.
    pub(crate) fn names(&self, modules: &BTreeSet<Vec<String>>) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for start in ["crate::", "super::", "self::"] {
            let mut from = 0;
            while let Some(at) = self.text[from..].find(start) {
                let begin = from + at;
                from = begin + start.len();
                let before = self.text[..begin].chars().next_back();
                if before.is_some_and(|it| is_part(it) || it == ':') {
                    continue;
                }
                let line = self.text[..begin].matches('\n').count() + 1;
                for path in paths(&self.text[begin..]) {
                    found.extend(self.module_of(&path, modules).map(|module| (line, module)));
                }
            }
        }
        found
    }

    /// The module that a path leads to.
    fn module_of(&self, path: &[String], modules: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
        let mut at = match path.first()?.as_str() {
            "crate" => Vec::new(),
            _ => self.module.clone(),
        };
        let ups = path.iter().filter(|part| *part == "super").count();
        at.truncate(at.len().saturating_sub(ups));
        let rest = path
            .iter()
            .filter(|part| !matches!(part.as_str(), "crate" | "self" | "super"));
        for part in rest {
            at.push(part.clone());
            if !modules.contains(&at) {
                at.pop();
                break;
            }
        }
        let is_kin = self.module.starts_with(&at) || at.starts_with(&self.module);
        (!is_kin).then_some(at)
    }
}

/// The paths that a text begins with: one, or as many as its braces have.
fn paths(text: &str) -> Vec<Vec<String>> {
    let end = text
        .find(|it| !is_part(it) && it != ':')
        .unwrap_or(text.len());
    let head: Vec<String> = text[..end]
        .split("::")
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    if !text[..end].ends_with("::") || !text[end..].starts_with('{') {
        return vec![head];
    }
    let mut all = Vec::new();
    let (mut depth, mut begin) = (0, end + 1);
    for (at, character) in text[end..].char_indices() {
        let at = end + at;
        match character {
            '{' => depth += 1,
            ',' if depth == 1 => {
                all.push((begin, at));
                begin = at + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    all.push((begin, at));
                    break;
                }
            }
            _ => {}
        }
    }
    let inner = all.into_iter().map(|(begin, end)| text[begin..end].trim());
    inner
        .filter(|part| !part.is_empty())
        .flat_map(paths)
        .map(|path| [head.clone(), path].concat())
        .collect()
}
