//! Scripted stories: `tests/stories/*.txt`, each a script, a line of `---`, and what happens.
//!
//! `UPDATE_STORIES=1` writes down what happens now; read the difference before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use chat_replication::sim::story::tell;

const DIVIDER: &str = "\n---\n";

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no stories", folder.display());
    paths
}

#[test]
fn stories_go_as_they_are_told() {
    let update = std::env::var_os("UPDATE_STORIES").is_some();
    let mut wrong = Vec::new();
    for path in stories() {
        let text = fs::read_to_string(&path).unwrap();
        let (script, expected) = text.split_once(DIVIDER).unwrap_or((text.trim_end(), ""));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match tell(script) {
            Err(error) => wrong.push(format!("{name}:\n{error}")),
            Ok(told) if update => fs::write(&path, format!("{script}{DIVIDER}{told}")).unwrap(),
            Ok(told) if told != expected => {
                let line = told
                    .lines()
                    .zip(expected.lines().chain(std::iter::repeat("nothing more")))
                    .find(|(told, expected)| told != expected);
                wrong.push(format!(
                    "{name}: the first difference is {line:?}; now it goes\n{told}"
                ));
            }
            Ok(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
