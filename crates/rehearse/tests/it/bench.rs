//! A folder with plans, a roster and scenarios, and the two programs that work in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

#[path = "../../../../tests/it/said.rs"]
mod said;

pub(crate) use said::Said;

pub(crate) const MEMBERSHIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/books/membership");

pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Said {
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// `autopay` as it is built beside `autopay-rehearse`: by the workspace's tests, or here where this package is tested alone.
pub(crate) fn autopay() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Path::new(env!("CARGO_BIN_EXE_autopay-rehearse")).with_file_name("autopay");
        let place = place.with_extension(std::env::consts::EXE_EXTENSION);
        if !place.is_file() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--locked", "--offline", "-p", "autopay", "--bin", "autopay"]);
            assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        }
        place
    })
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a plan of 100.00 a month by a policy of these waits, and a roster.
    pub(crate) fn with(waits: &[&str], ids: &[&str]) -> Self {
        let bench = Self::new();
        bench.plans("plans", waits);
        bench.write("roster.csv", roster(ids, "card"));
        bench
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

    /// The plan `gym` and its policy `patient`, which keeps subscriptions going.
    pub(crate) fn plans(&self, folder: &str, waits: &[&str]) {
        let mut policy = format!(
            "schema = \"autopay.dunning/1\"\nid = \"patient\"\nname = \"Patient\"\n\n[limits]\nmost_attempts = {}\ngive_up_after = \"21 days\"\nat = 09:00:00\n",
            waits.len() + 1
        );
        for wait in waits {
            policy.push_str(&format!(
                "\n[[step]]\nafter = \"{wait}\"\naction = \"retry\"\nfor = [\"insufficient_funds\"]\n"
            ));
        }
        policy.push_str("\n[at_the_end]\naction = \"keep_subscription\"\n");
        self.write(&format!("{folder}/dunning/patient.toml"), policy);
        self.write(&format!("{folder}/gym.toml"), PLAN);
    }

    pub(crate) fn run_as(&self, program: &Path, arguments: &[&str]) -> Said {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AUTOPAY_")) {
            command.env_remove(name);
        }
        command.env("AUTOPAY_USER", "tester").output().unwrap().into()
    }

    /// Rehearses the bench's own book from January 2027 on.
    pub(crate) fn rehearse(&self, more: &[&str]) -> Said {
        let book = ["--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01"];
        self.run_as(Path::new(env!("CARGO_BIN_EXE_autopay-rehearse")), &[&book[..], more].concat())
    }

    pub(crate) fn autopay(&self, arguments: &[&str]) -> Said {
        self.run_as(autopay(), arguments)
    }
}

pub(crate) const PLAN: &str = r#"schema = "autopay.plan/1"
id = "gym"
name = "Gym"
kind = "recurring"
status = "active"

[schedule]
every = "1 month"
time_zone = "UTC"
charge_at = 06:00:00

[amount]
currency = "USD"
value = "100.00"

[collect]
dunning = "patient"
"#;

/// A roster of one method per id, billed on the fifth.
pub(crate) fn roster(ids: &[&str], kind: &str) -> String {
    let mut text = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,consent_id,consent_at,consent_channel\n".to_owned();
    let consent = if kind == "card" { ",," } else { "terms-1,2026-12-01T10:00:00Z,WEB" };
    for (place, id) in ids.iter().enumerate() {
        text.push_str(&format!(
            "{id},gym,5a4db0c5-0000-8000-8000-{place:012x},{kind},C-{place},2027-01-05,{consent}\n"
        ));
    }
    text
}
