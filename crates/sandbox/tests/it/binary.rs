//! The program: started, killed for real, started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sandbox::{Behaviour, Journal, method_id};
use uuid::Uuid;

use crate::support::{CREDENTIALS, Request, address, order, token};

const CARD: Uuid = method_id(Behaviour::Pays, 1);

struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(journal: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ccg-sandbox"))
            .arg("--journal")
            .arg(journal)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }

    async fn post(&self, key: &str) -> std::io::Result<u16> {
        let to = address(&self.url);
        let token = token(to, CREDENTIALS).await.json();
        let request = Request::new("POST", "/v2/payments")
            .header("authorization", &format!("Bearer {}", token["access_token"].as_str().unwrap()))
            .header("x-merchant-id", &sandbox::DEFAULT_MERCHANT.to_string())
            .header("content-type", "application/json")
            .body(order(key, 100, CARD).to_string());
        Ok(request.send(to).await?.status)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_killed_program_goes_on_from_its_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut program = Program::start(&path, &[]);
    for _ in 0..4 {
        assert_eq!(program.post("k").await.unwrap(), 202);
    }
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert_eq!(Journal::read(&path).unwrap().successes_by_key(None)["k"], 1);
    let program = Program::start(&path, &[]);
    assert_eq!(program.post("k").await.unwrap(), 202, "the fifth submission");
    assert_eq!(program.post("k").await.unwrap(), 422, "the sixth");
    assert_eq!(Journal::read(&path).unwrap().total_collected("USD", None), 100);
}

#[tokio::test]
async fn the_program_stops_when_it_is_told_to_and_obeys_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut program =
        Program::start(&path, &["--fault", "error_after_commit=1", "--fault", "error_after_commit.status=500"]);
    assert_eq!(program.post("k").await.unwrap(), 500);
    let told = Command::new("kill").arg("-TERM").arg(program.child.id().to_string()).status().unwrap();
    assert!(told.success());
    assert!(program.child.wait().unwrap().success(), "a told program ends well");
    assert_eq!(Journal::read(&path).unwrap().payments(), 1);
}
