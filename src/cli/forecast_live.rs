//! The forecast of the live book.

use super::Context;
use super::exit::{Exit, Problem, Stop};
use super::forecast::Asked;

pub(super) async fn run(_: Asked, _: &Context) -> Result<Exit, Stop> {
    Err(Stop::because(Exit::Usage, Problem::new("--plans", "", "is missing", "name the plan files and the roster")))
}
