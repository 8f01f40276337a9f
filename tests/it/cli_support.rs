//! The real binary in a folder of its own, with nothing of this process's settings.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) use crate::said::Said;

/// A folder with a database, plans and whatever a test writes into it.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), env: BTreeMap::new() }
    }

    /// A folder whose database is migrated.
    pub(crate) fn migrated() -> Self {
        let bench = Self::new();
        crate::migrated::sqlite(&bench.path().join("autopay.db"));
        bench
    }

    /// A folder whose database is migrated and whose plans are applied.
    pub(crate) fn with_plans() -> Self {
        let bench = Self::migrated();
        bench.write("plans/wellness.toml", PLAN);
        bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
        bench
    }

    pub(crate) fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.to_owned(), value.into());
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autopay"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AUTOPAY_")) {
            command.env_remove(name);
        }
        command.env("AUTOPAY_USER", "tester").envs(&self.env);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }
}

pub(crate) const PLAN: &str = r#"schema = "autopay.plan/1"
id = "wellness"
name = "Wellness membership"
kind = "recurring"
status = "active"

[schedule]
every = "1 month"
time_zone = "America/Chicago"
charge_at = 06:00:00

[amount]
currency = "USD"
value = "1079.00"
"#;

/// A roster of one card per id, from a start far enough away to stay planned.
pub(crate) fn roster(ids: &[&str], start_on: &str) -> String {
    let mut text = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n".to_owned();
    for (place, id) in ids.iter().enumerate() {
        text.push_str(&format!("{id},wellness,5a4db0c5-0000-8000-8000-{place:012x},card,C-{place},{start_on}\n"));
    }
    text
}
