//! Journeys: whole stories, each with the complete list of what happened.

use sandbox::Behaviour;

use crate::world::{Backend, World, card, plan, subscriber};

async fn good_day(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-15T00:00:00Z", "a good day").await else { return };
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    assert_eq!(world.run().await.items, 0, "nothing is due at midnight UTC");
    world.turn_to("2027-01-15T11:00:00Z");
    let report = world.run().await;
    assert_eq!((report.sent, report.paid, report.items), (1, 1, 1));
    assert_eq!(world.run().await.items, 0, "a second look finds nothing");
    let story = world.story("sub-1").await;
    insta_like(&story, &["2027-01-15 79.00 paid", "  01-15 11:00:00 attempt 1 charge.intent", "  01-15 11:00:00 attempt 1 accepted → paid submit", "  01-15 11:00:00 attempt 1 succeeded → paid by_id"]);
    world.balance().await;
}

fn insta_like(story: &[String], expected: &[&str]) {
    assert_eq!(story, expected, "\n{}", story.join("\n"));
}

#[tokio::test]
async fn a_good_day_in_memory() {
    good_day(Backend::Memory).await;
}

#[tokio::test]
async fn a_good_day_on_sqlite() {
    good_day(Backend::Sqlite).await;
}

#[tokio::test]
async fn a_good_day_on_postgresql() {
    good_day(Backend::Postgres).await;
}
