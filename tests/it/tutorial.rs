//! The tutorial is true: its commands are run as they stand, and what they print is what the page says.

use std::path::Path;
use std::process::Command;

/// A block of commands, and what they print where the page says it.
struct Step {
    script: String,
    printed: Option<String>,
}

/// The blocks of a page, in order. A command begins with `$`; the lines below it up to the next `$` belong to it.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if !["```console", "```text"].contains(&line) {
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if line == "```console" {
            let script: Vec<&str> = block.into_iter().map(|line| line.strip_prefix("$ ").unwrap_or(line)).collect();
            steps.push(Step { script: script.join("\n"), printed: None });
        } else {
            steps.last_mut().unwrap().printed = Some(block.join("\n"));
        }
    }
    steps
}

/// Are the lines those of the page? A line in dots, `…x…`, stands for any number of lines of which one has `x` in it.
fn agrees(printed: &str, page: &str) -> bool {
    let mut lines = printed.lines().peekable();
    let mut said = page.lines().peekable();
    while let Some(line) = said.next() {
        let Some(part) = line.strip_prefix('…').and_then(|line| line.strip_suffix('…')) else {
            if lines.next() != Some(line) {
                return false;
            }
            continue;
        };
        let next = said.peek().copied();
        let mut found = false;
        while let Some(line) = lines.next_if(|line| next != Some(*line)) {
            found |= line.contains(part);
        }
        if !found {
            return false;
        }
    }
    lines.next().is_none()
}

#[test]
fn every_command_of_the_tutorial_prints_what_the_page_says() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorial.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.len() >= 6 && steps.iter().filter(|step| step.printed.is_some()).count() >= 5);
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_autopay")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    for Step { script, printed } in steps {
        let ran = Command::new("sh")
            .args(["-e", "-c", &script])
            .current_dir(folder.path())
            .env_clear()
            .envs([("PATH", path.as_str()), ("HOME", "/nowhere"), ("LC_ALL", "C")])
            .output()
            .unwrap();
        let (out, talk) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{script}\n{out}{talk}");
        if let Some(printed) = printed {
            assert!(agrees(&out, &printed), "{script}\n--- printed\n{out}\n--- the page\n{printed}\n");
        }
    }
}

#[test]
fn a_page_that_says_something_else_is_found_out() {
    assert!(agrees("a\nb", "a\nb"));
    assert!(!agrees("a\nb", "a"));
    assert!(!agrees("a", "a\nb"));
    assert!(agrees("x 42.00 y\nmore\nexit 6", "…42.00…\nexit 6"));
    assert!(!agrees("x 43.00 y\nexit 6", "…42.00…\nexit 6"));
}
