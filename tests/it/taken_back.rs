//! Journeys of what a bank took back and is to be asked for again: what keeps it from being asked for twice, or at all.

use domain::agenda::Scope;
use domain::recon::Kind;
use sandbox::ReturnCode;

use crate::recon::{compare, compare_open};
use crate::recon_doubles::charge_behind_our_back;
use crate::returned::{one, paid, taken_back};
use crate::world::{Backend, everywhere};

everywhere! {
    what_was_taken_back_is_held_where_the_gateway_has_another_payment_of_it;
}

async fn what_was_taken_back_is_held_where_the_gateway_has_another_payment_of_it(backend: Backend) {
    // A run by hand looks at what is final, too; any other at what is not.
    for finals in [true, false] {
        let Some(world) = paid(backend, &format!("another payment, finals {finals}")).await else { return };
        let back = taken_back(&world, ReturnCode::R01).await;
        charge_behind_our_back(&world, "sub-1", 0, 2, 7_900).await;
        let run = if finals { compare(&world, "2027-01-15", "2027-01-15") .await } else { compare_open(&world, "2027-01-15", "2027-01-15").await };
        let kinds: Vec<Kind> = run.2.iter().map(|one| one.finding.kind).collect();
        assert_eq!(kinds, [Kind::Orphan], "finals {finals}");
        assert!(run.2[0].finding.evidence.ends_with("; the subscription is held"), "{:?}", run.2);
        let holds: Vec<Scope> = world.store.holds().await.unwrap().into_iter().map(|hold| hold.scope).collect();
        assert_eq!(holds, [Scope::Subscription(back.subscription.clone())], "finals {finals}");
        let collected = world.sandbox().ledger().success_count();
        world.run_until("2027-02-10T00:00:00Z").await;
        assert_eq!(one(&world).await, back, "it waits for whoever looks");
        assert_eq!(world.sandbox().ledger().success_count(), collected);
    }
}
