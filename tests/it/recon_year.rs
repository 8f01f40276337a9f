//! A year at a gateway that misbehaves in every way it can, tied out to the cent at its end.

use std::collections::{BTreeMap, BTreeSet};

use autopay::engine::recon::WantedFile;
use autopay::files::read_settlements;
use autopay::ports::recon::{BegunRun, ExceptionFilter, FileName};
use chrono::TimeDelta;
use domain::charge::Charge;
use domain::id::ChargeId;
use domain::money::Currency;
use domain::recon::{Kind, collected, in_doubt};
use sandbox::{Behaviour, DeclineCode, Faults, LateReturn, Options, ReturnCode, SettlementFaults};
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;

use crate::recon::{compare, reconciler};
use crate::world::{Backend, MERCHANT, World, at, bank, card, day, plan, subscriber};

/// Every fault there is, each as often as this.
fn every_fault() -> Faults {
    let mut faults = Faults::none();
    for fault in sandbox::Fault::ALL {
        faults.apply(&format!("{}=0.02", fault.name())).unwrap();
    }
    for quick in ["slow.ms=1", "late_commit.ms=2", "lookup_404_for.ms=2"] {
        faults.apply(quick).unwrap();
    }
    faults
}

async fn a_year() -> World {
    let options = Options { seed: 7, ..Options::default() };
    let world = World::begin_with(Backend::Memory, "2027-01-01T10:00:00Z", "a year", options).await.unwrap();
    let mut switches = world.sandbox().switches();
    switches.late_return = LateReturn::Failed;
    world.sandbox().set_switches(switches);
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let late = Behaviour::AchReturnedLate { days: Some(2), code: ReturnCode::R10 };
    let again = Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds };
    let methods = (1..=14).map(|n| card(Behaviour::Pays, n)).chain([
        card(again, 15),
        card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 16),
        bank(Behaviour::AchSettles { days: Some(2) }, 17),
        bank(Behaviour::AchReturned { days: Some(2), code: ReturnCode::R01 }, 18),
        bank(late, 19),
    ]);
    let rows = methods.zip(1..).map(|(method, n)| subscriber(&format!("sub-{n}"), "gold", "2027-01-02", method));
    world.enrol(rows.collect()).await;
    world.sandbox().set_faults(every_fault());
    world.live_until(at("2027-12-20T00:00:00Z"), TimeDelta::hours(6)).await;
    world.sandbox().set_faults(Faults::none());
    world.live_until(at("2027-12-31T00:00:00Z"), TimeDelta::hours(6)).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_of_every_fault_ties_out_to_the_cent_and_every_double_is_found() {
    let world = a_year().await;
    let ledger = world.sandbox().ledger();
    let twins: BTreeSet<String> = ledger
        .payments()
        .into_iter()
        .filter(|payment| payment.twin && payment.successes > 0)
        .map(|payment| payment.id.to_string())
        .collect();
    assert!(!twins.is_empty(), "the year planted no double: take another seed");
    for (from, until) in [
        ("2027-01-01", "2027-04-05"),
        ("2027-04-06", "2027-07-10"),
        ("2027-07-11", "2027-10-15"),
        ("2027-10-16", "2027-12-31"),
    ] {
        let (_, sums, found) = compare(&world, from, until).await;
        assert!(sums.values().all(|sum| sum.residue() == 0), "{sums:?}");
        let charges: BTreeMap<ChargeId, Charge> = world.charges().await.into_iter().map(|one| (one.id, one)).collect();
        for exception in found {
            let finding = &exception.finding;
            let charge = finding.charge.map(|id| &charges[&id]);
            let took = finding.key.is_some_and(|key| ledger.successes_by_key().contains_key(&key.to_string()));
            let is_true = match finding.kind {
                Kind::Unknown => charge.is_some_and(|charge| in_doubt(&charge.state)),
                Kind::Returned => charge.is_some_and(|charge| charge.state.word() == "returned"),
                Kind::PaidThereNotHere => took && charge.is_some_and(|charge| collected(&charge.state) == 0),
                Kind::Duplicate => took && charge.is_some_and(|charge| collected(&charge.state) != 0),
                _ => false,
            };
            assert!(is_true, "{exception:?}\n{charge:?}");
        }
    }
    let text = ledger.settlement_file(day("2027-01-01"), day("2027-12-31"), &SettlementFaults::default());
    let rows = read_settlements("year.csv", text.as_bytes(), None, day("2028-12-31")).unwrap();
    let file = FileName { name: "year.csv".to_owned(), sha256: hex::encode(sha2::Sha256::digest(text.as_bytes())) };
    let wanted = WantedFile { file, span: None, complete: false, by: "ann".to_owned() };
    let (reconciler, stop) = (reconciler(&world), CancellationToken::new());
    let BegunRun::New(run) = reconciler.begin_file(&wanted, &rows).await.unwrap() else { panic!("compared before") };
    let (_, sums) = reconciler.carry_on_file(run.id, &rows, &stop).await.unwrap();
    let sum = sums[&Currency::USD];
    let moved: i64 = ledger.movements().iter().map(|movement| movement.amount_minor).sum();
    assert_eq!((sum.theirs, sum.residue()), (moved, 0), "every cent of the gateway's own ledger is explained");
    let filter = ExceptionFilter { run: Some(run.id), ..ExceptionFilter::default() };
    let listed = world.store.exceptions(MERCHANT, &filter, 0, 10_000).await.unwrap();
    let doubled = listed.iter().filter(|one| one.finding.kind == Kind::Duplicate);
    let doubled: BTreeSet<String> = doubled.filter_map(|one| one.finding.payment_id.clone()).collect();
    assert_eq!(doubled, twins, "every planted double, and nothing else: {listed:#?}");
    let found = reconciler.doubles(&stop).await.unwrap();
    let named: BTreeSet<String> = found.iter().map(|double| double.other.clone()).collect();
    assert_eq!(named, twins);
    assert!(ledger.refunds().is_empty(), "drafted, and never sent");
}
