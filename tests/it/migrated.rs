//! Databases at the schema of this binary, copied from one that was migrated once: the migrations cost more than most tests.

use std::path::Path;
use std::sync::OnceLock;

use autopay::store::{DatabaseUrl, migrate};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use tokio::sync::OnceCell;

static FILE: OnceLock<Vec<u8>> = OnceLock::new();
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Puts a SQLite database there, and returns its URL.
pub(crate) fn sqlite(path: &Path) -> String {
    let made = FILE.get_or_init(|| {
        // A thread and a runtime of its own: the caller may be in one.
        let made = std::thread::spawn(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("autopay.db");
            let url = DatabaseUrl::parse(&format!("sqlite:{}", path.display())).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(migrate(&url)).unwrap();
            let files = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(files, 1, "something is not in the database file yet");
            std::fs::read(path).unwrap()
        });
        made.join().unwrap()
    });
    std::fs::write(path, made).unwrap();
    format!("sqlite:{}", path.display())
}

/// A database without a schema: on SQLite its file, which only a migration makes; on a server it is there already.
pub(crate) fn bare(url: &DatabaseUrl) {
    if let Some(file) = url.file() {
        drop(std::fs::File::create_new(file).unwrap());
    }
}

/// The name of a database on the test server that new ones can be copied from. `place` is the server's URL up to the name of a database.
pub(crate) async fn template(admin: &DatabaseConnection, place: &str) -> &'static str {
    let made = TEMPLATE.get_or_init(async || {
        let of_this_machine = format!("autopay_template_{}_", machine());
        forsaken(admin, &of_this_machine).await;
        let name = format!("{of_this_machine}{}", std::process::id());
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        migrate(&DatabaseUrl::parse(&format!("{place}/{name}")).unwrap()).await.unwrap();
        name
    });
    made.await
}

/// Drops the templates of test processes of this machine that have ended: nothing runs in a test process once its tests are done.
async fn forsaken(admin: &DatabaseConnection, of_this_machine: &str) {
    let ask = sea_orm::Statement::from_string(admin.get_database_backend(), "SELECT datname FROM pg_database");
    for row in admin.query_all_raw(ask).await.unwrap() {
        let name: String = row.try_get("", "datname").unwrap();
        let process = name.strip_prefix(of_this_machine).and_then(|process| process.parse::<u32>().ok());
        let has_ended =
            |process: u32| Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{process}")).exists();
        if process.is_some_and(has_ended) {
            admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        }
    }
}

/// What tells this machine's processes from those of others that test on the same server.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.chars().filter(char::is_ascii_alphanumeric).take(24).collect::<String>().to_ascii_lowercase()
}
