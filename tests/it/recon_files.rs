//! Journeys of settlement files: the sandbox's own ledger as a file, whole and damaged, against the book.

use std::collections::BTreeMap;
use std::sync::Arc;

use autopay::engine::Refunds;
use autopay::engine::recon::WantedFile;
use autopay::files::read_settlements;
use autopay::gateway::CcgGateway;
use autopay::ports::books::{Closed, Closing};
use autopay::ports::recon::{
    BegunRun, Compared, Exception, ExceptionFilter, FileName, KeptRow, NewRun, Ruled, Ruling, Run, Source, Span, Stage,
    Sums,
};
use autopay::ports::{Claimed, ledger};
use chrono::TimeDelta;
use domain::charge::State;
use domain::id::{ChargeId, MerchantId};
use domain::ledger::{Account, Posted};
use domain::money::Currency;
use domain::recon::{Kind, Standing};
use domain::refund::{Reason, Wish};
use domain::settlement::SettlementRow;
use sandbox::{Behaviour, LateReturn, ReturnCode, SettlementFaults};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::contract_store::id;
use crate::recon::reconciler;
use crate::world::{Backend, MERCHANT, World, at, bank, card, client, day, everywhere, plan, subscriber};

everywhere! {
    a_file_of_the_gateways_own_ledger_has_no_difference_and_is_compared_once;
    files_that_overlap_meet_each_row_once;
    a_return_takes_the_same_path_by_answer_poll_event_and_file;
    a_return_that_only_a_report_tells_of_changes_no_charge;
    rows_that_stand_twice_are_missing_or_are_altered_are_each_named;
    a_bank_that_says_it_was_debited_twice_is_an_alarm;
    a_payment_without_a_key_of_ours_is_in_the_file_only;
    a_notice_of_change_moves_no_money_and_another_code_is_a_difference;
    disputes_that_nobody_told_of_are_differences;
    a_payment_under_another_key_than_the_booked_one_is_a_mismatch;
    a_row_that_names_two_payments_is_a_mismatch_and_nobodys_until_a_person_says;
    what_came_and_went_between_two_looks_is_explained_as_a_pair;
    a_movement_in_two_wordings_has_one_fee_whatever_a_person_matches;
    what_a_person_matched_is_told_before;
    one_payment_in_two_wordings_is_told_twice_whichever_comes_first;
    one_refund_in_two_wordings_is_told_twice;
    two_merchants_that_are_told_the_same_each_have_their_fee;
    what_the_gateway_keeps_is_posted_once_and_only_of_rows_that_belong_to_something;
    a_fee_that_is_given_back_is_a_difference_and_never_posted;
    a_fee_of_a_closed_month_that_is_told_late_counts_in_the_open_one;
}

const HEADER: &str = "type,gateway_id,key,gross,fee,net,currency,settled_on,code\n";

fn rows(text: &str) -> Vec<SettlementRow> {
    read_settlements("file.csv", text.as_bytes(), None, day("2028-12-31")).unwrap()
}

fn wanted(text: &str, complete: bool) -> WantedFile {
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text.as_bytes()));
    let span = complete.then(|| Span { from: day("2027-01-15"), until: day("2027-01-15") });
    WantedFile { file: FileName { name: "file.csv".to_owned(), sha256 }, span, complete, by: "ann".to_owned() }
}

pub(crate) async fn compare(world: &World, text: &str, complete: bool) -> (Run, Sums, Vec<Exception>) {
    let (reconciler, rows) = (reconciler(world), rows(text));
    let begun = reconciler.begin_file(&wanted(text, complete), &rows).await.unwrap();
    let BegunRun::New(run) = begun else { panic!("{begun:?}") };
    let (run, sums) = reconciler.carry_on_file(run.id, &rows, &CancellationToken::new()).await.unwrap();
    for sum in sums.values() {
        assert_eq!(sum.residue(), 0);
    }
    let filter = ExceptionFilter { run: Some(run.id), ..ExceptionFilter::default() };
    let mut found = world.store.exceptions(MERCHANT, &filter, 0, 1_000).await.unwrap();
    found.reverse();
    (run, sums, found)
}

pub(crate) fn kinds(found: &[Exception]) -> Vec<Kind> {
    found.iter().map(|one| one.finding.kind).collect()
}

pub(crate) fn file(world: &World, faults: &SettlementFaults) -> String {
    world.sandbox().ledger().settlement_file(day("2027-01-01"), day("2027-03-31"), faults)
}

/// Two cards and a bank account, paid.
async fn paid(backend: Backend, test: &str, late: LateReturn) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", test).await?;
    let mut switches = world.sandbox().switches();
    switches.late_return = late;
    world.sandbox().set_switches(switches);
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let ach = Behaviour::AchSettles { days: Some(1) };
    let methods = [card(Behaviour::Pays, 1), card(Behaviour::Pays, 2), bank(ach, 3)];
    let rows =
        methods.into_iter().zip(1..).map(|(method, n)| subscriber(&format!("sub-{n}"), "gold", "2027-01-15", method));
    world.enrol(rows.collect()).await;
    world.run_until("2027-01-18T12:00:00Z").await;
    for n in 1..=3 {
        assert_eq!(world.charges_of(&format!("sub-{n}")).await[0].state.word(), "paid");
    }
    Some(world)
}

async fn payment_of(world: &World, id: &str) -> (String, String) {
    let charge = world.charges_of(id).await[0].id;
    let attempt = world.store.attempts(charge).await.unwrap().remove(0);
    (attempt.payment_id.unwrap(), attempt.key.to_string())
}

async fn a_file_of_the_gateways_own_ledger_has_no_difference_and_is_compared_once(backend: Backend) {
    let Some(world) = paid(backend, "a whole file", LateReturn::Failed).await else { return };
    let text = file(&world, &SettlementFaults::default());
    let (run, sums, found) = compare(&world, &text, true).await;
    assert_eq!(found, []);
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs, run.asked), (23_700, 23_700, 0));
    let rows = rows(&text);
    let again = reconciler(&world).begin_file(&wanted(&text, true), &rows).await.unwrap();
    assert!(matches!(again, BegunRun::Before(before) if before.id == run.id), "the same bytes are a no-op");
    world.balance().await;
}

async fn files_that_overlap_meet_each_row_once(backend: Backend) {
    let Some(world) = paid(backend, "files overlap", LateReturn::Failed).await else { return };
    let text = file(&world, &SettlementFaults::default());
    let (first, _) = text.rsplit_once("payment,").unwrap();
    let (_, sums, found) = compare(&world, first, false).await;
    assert_eq!((sums[&Currency::USD].theirs, kinds(&found)), (15_800, vec![]));
    let (_, sums, found) = compare(&world, &text, false).await;
    assert_eq!((sums[&Currency::USD].theirs, kinds(&found)), (7_900, vec![]), "only the row that is new");
}

async fn a_return_takes_the_same_path_by_answer_poll_event_and_file(backend: Backend) {
    let Some(world) = paid(backend, "returned by a file", LateReturn::Failed).await else { return };
    let (payment, key) = payment_of(&world, "sub-3").await;
    world.sandbox().return_payment(payment.parse().unwrap(), ReturnCode::R01).unwrap();
    // A plain list of returns of the bank, with our key alone.
    let text = format!("entry_id,key,return_code,amount,returned_on\n,{key},R01,79.00,2027-01-18\n");
    let (run, sums, found) = compare(&world, &text, false).await;
    assert_eq!((kinds(&found), run.moved), (vec![], 1), "asked, answered and agreed");
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs), (-7_900, -7_900));
    let charge = &world.charges_of("sub-3").await[0];
    assert!(matches!(&charge.state, State::Returned { code, .. } if code == "R01"), "{:?}", charge.state);
    let told = world.store.timeline(charge.id).await.unwrap();
    let last = told.last().unwrap();
    assert_eq!((last.actor.as_str(), last.event.as_str()), ("gateway", "declined → returned"), "{told:?}");
    // The whole ledger agrees afterwards, the return row of the gateway's own file included.
    let (_, _, found) = compare(&world, &file(&world, &SettlementFaults::default()), true).await;
    assert_eq!(
        kinds(&found),
        [Kind::Returned],
        "the bank's row and the gateway's tell of one return: a person matches one"
    );
}

async fn a_return_that_only_a_report_tells_of_changes_no_charge(backend: Backend) {
    let Some(world) = paid(backend, "returned by a report", LateReturn::Report).await else { return };
    let (payment, _) = payment_of(&world, "sub-3").await;
    world.sandbox().return_payment(payment.parse().unwrap(), ReturnCode::R10).unwrap();
    let (run, sums, found) = compare(&world, &file(&world, &SettlementFaults::default()), true).await;
    assert_eq!(kinds(&found), [Kind::Returned]);
    assert_eq!((found[0].finding.sides.ours, found[0].finding.sides.theirs), (0, -7_900));
    assert!(found[0].finding.evidence.contains("R10"), "{}", found[0].finding.evidence);
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs), (23_700, 15_800));
    assert_eq!((run.moved, world.charges_of("sub-3").await[0].state.word()), (0, "paid"), "a file moves nothing");
}

async fn rows_that_stand_twice_are_missing_or_are_altered_are_each_named(backend: Backend) {
    let Some(world) = paid(backend, "a damaged file", LateReturn::Failed).await else { return };
    let whole = file(&world, &SettlementFaults::default());
    let twice = file(&world, &SettlementFaults { double: 1.0, ..SettlementFaults::default() });
    let (_, sums, found) = compare(&world, &twice, true).await;
    assert_eq!(kinds(&found), [Kind::RepeatedRow; 3]);
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs), (23_700, 47_400));
    let Some(world) = paid(backend, "a file with a row missing", LateReturn::Failed).await else { return };
    let (missing, _) = whole.rsplit_once("payment,").unwrap();
    let (_, sums, found) = compare(&world, missing, true).await;
    assert_eq!(kinds(&found), [Kind::NotInFile]);
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs), (23_700, 15_800));
    let Some(world) = paid(backend, "a file with amounts altered", LateReturn::Failed).await else { return };
    let altered = file(&world, &SettlementFaults { alter: 1.0, ..SettlementFaults::default() });
    let (_, sums, found) = compare(&world, &altered, false).await;
    assert_eq!(kinds(&found), [Kind::AmountDiffers; 3]);
    assert_eq!(sums[&Currency::USD].theirs - sums[&Currency::USD].ours, 3);
}

async fn a_bank_that_says_it_was_debited_twice_is_an_alarm(backend: Backend) {
    let Some(world) = paid(backend, "debited twice", LateReturn::Failed).await else { return };
    let (_, key) = payment_of(&world, "sub-3").await;
    let text = format!("entry_id,key,return_code,amount,returned_on\n091000012345678,{key},R24,79.00,2027-01-18\n");
    let (_, _, found) = compare(&world, &text, false).await;
    assert_eq!(kinds(&found), [Kind::DoubleEntry]);
    assert_eq!(found[0].finding.sides.difference(), -7_900);
    assert_eq!(world.charges_of("sub-3").await[0].state.word(), "paid", "the gateway does not say so");
}

async fn a_payment_without_a_key_of_ours_is_in_the_file_only(backend: Backend) {
    let Some(world) = paid(backend, "in the file only", LateReturn::Failed).await else { return };
    let text = format!(
        "{HEADER}payment,p-1,counter-17,12.00,0.50,11.50,USD,2027-01-16,\nrefund,r-1,,3.00,,,USD,2027-01-16,\nfee,,,5.00,,,USD,2027-01-31,\n"
    );
    let (run, sums, found) = compare(&world, &text, false).await;
    assert_eq!(kinds(&found), [Kind::OnlyInFile, Kind::OnlyInFile]);
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs, run.asked), (0, 900, 0));
}

async fn a_notice_of_change_moves_no_money_and_another_code_is_a_difference(backend: Backend) {
    let Some(world) = paid(backend, "a notice of change", LateReturn::Failed).await else { return };
    let (payment, key) = payment_of(&world, "sub-3").await;
    world.sandbox().return_payment(payment.parse().unwrap(), ReturnCode::R02).unwrap();
    let line = |code: &str| format!("return,{payment},{key},79.00,,,USD,2027-01-18,{code}\n");
    let method = world.store.subscription(&id("sub-3")).await.unwrap().unwrap().subscription.method.unwrap().id;
    let change = async || {
        let known = world.store.wallet(&[method]).await.unwrap().remove(&method);
        known.and_then(|known| known.change).map(|change| change.code)
    };
    let (_, _, found) = compare(&world, &format!("{HEADER}{}", line("C10")), false).await;
    assert_eq!((kinds(&found), change().await), (vec![Kind::AccountChanged], None), "that is about our own company");
    let (run, sums, found) = compare(&world, &format!("{HEADER}{}", line("C01")), false).await;
    assert_eq!((kinds(&found), run.asked), (vec![Kind::AccountChanged], 0));
    assert_eq!(change().await.as_deref(), Some("C01"), "the next entry would be made with what the bank called wrong");
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs), (0, 0));
    let (_, sums, found) = compare(&world, &format!("{HEADER}{}", line("R03")), false).await;
    assert_eq!(kinds(&found), [Kind::CodeDiffers], "the gateway says R02");
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs), (-7_900, -7_900));
}

async fn disputes_that_nobody_told_of_are_differences(backend: Backend) {
    let Some(world) = paid(backend, "disputes of a file", LateReturn::Failed).await else { return };
    let (payment, key) = payment_of(&world, "sub-1").await;
    let (other, its_key) = payment_of(&world, "sub-2").await;
    let text = format!(
        "{HEADER}dispute,{payment},{key},999.00,,,USD,2027-01-17,\ndispute_won,{payment},{key},500.00,,,USD,2027-01-18,\n\
         dispute_won,{other},{its_key},79.00,,,USD,2027-01-18,\n"
    );
    let (_, sums, found) = compare(&world, &text, false).await;
    assert_eq!(kinds(&found), [Kind::Disputed, Kind::Reinstated, Kind::OnlyInFile]);
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs), (0, -42_000));
}

async fn a_payment_under_another_key_than_the_booked_one_is_a_mismatch(backend: Backend) {
    let Some(world) = paid(backend, "another key", LateReturn::Failed).await else { return };
    let (payment, key) = payment_of(&world, "sub-1").await;
    let other = "00000000-0000-4000-8000-000000000000";
    let text = format!("{HEADER}payment,{payment},{other},79.00,,,USD,2027-01-17,\n");
    let (_, _, found) = compare(&world, &text, false).await;
    assert_eq!((kinds(&found), found[0].finding.sides.difference()), (vec![Kind::Mismatch], 0));
    assert!(found[0].finding.evidence.contains(&key), "{}", found[0].finding.evidence);
}

async fn rule(world: &World, exception: &Exception, standing: Standing, by: &str, charge: Option<ChargeId>) {
    let ruling = Ruling { standing, charge, by: by.to_owned(), reason: "a call".to_owned(), at: world.now() };
    assert_eq!(world.store.rule(MERCHANT, exception.id, &ruling).await.unwrap(), Ruled::Kept);
}

async fn a_row_that_names_two_payments_is_a_mismatch_and_nobodys_until_a_person_says(backend: Backend) {
    let Some(world) = paid(backend, "two payments in one row", LateReturn::Failed).await else { return };
    let ((payment, key), (_, other)) = (payment_of(&world, "sub-1").await, payment_of(&world, "sub-2").await);
    let [charge, second] = [world.charges_of("sub-1").await[0].id, world.charges_of("sub-2").await[0].id];
    let lines = ["payment", "return", "dispute", "fee"].map(|kind| {
        let code = if kind == "return" { "R01" } else { "" };
        format!("{kind},{payment},{other},79.00,2.59,,USD,2027-01-17,{code}\n")
    });
    let (run, sums, found) = compare(&world, &[HEADER, &lines.concat()].concat(), false).await;
    assert_eq!((kinds(&found), run.asked), (vec![Kind::Mismatch; 4], 0));
    assert_eq!((sums[&Currency::USD].ours, sums[&Currency::USD].theirs), (0, -15_800));
    for one in &found {
        assert_eq!(one.finding.charge, None);
        for part in [charge.to_string(), second.to_string()] {
            assert!(one.finding.evidence.contains(&part), "{}", one.finding.evidence);
        }
    }
    assert_eq!(fees(&world).await, [], "it is nobody's yet");
    // Neither of the two is told of by it.
    let whole = [payment_line(&payment, &key), payment_line("", &other)].concat();
    let (_, _, found_now) = compare(&world, &[HEADER, &whole].concat(), false).await;
    assert_eq!(kinds(&found_now), []);
    rule(&world, &found[0], Standing::Matched, "ann", Some(charge)).await;
    assert_eq!(fees(&world).await, vec![("2.59".to_owned(), true); 2], "the fee of its payment is there already");
    assert_eq!(missing(&world).await, 0);
}

fn payment_line(payment: &str, key: &str) -> String {
    format!("payment,{payment},{key},79.00,2.59,76.41,USD,2027-01-18,\n")
}

async fn a_movement_in_two_wordings_has_one_fee_whatever_a_person_matches(backend: Backend) {
    let Some(world) = paid(backend, "a fee in two wordings", LateReturn::Failed).await else { return };
    let (payment, key) = payment_of(&world, "sub-1").await;
    let [one, two] = [world.charges_of("sub-1").await[0].id, world.charges_of("sub-2").await[0].id];
    // Nothing was wrong with the first; the second is matched to the same charge.
    compare(&world, &[HEADER, &payment_line("", &key)].concat(), false).await;
    let (_, _, found) = compare(&world, &[HEADER, &payment_line(&payment, "")].concat(), false).await;
    assert_eq!(kinds(&found), [Kind::Duplicate]);
    rule(&world, &found[0], Standing::Matched, "ann", Some(one)).await;
    assert_eq!((fees(&world).await, missing(&world).await), (vec![("2.59".to_owned(), true)], 0));
    // Nobody knows the payment, and two files tell of it on two days; it is matched twice, the later one first.
    let strange = |on: &str| format!("{HEADER}payment,x-1,,12.00,0.30,11.70,USD,{on},\n");
    let (_, _, first) = compare(&world, &strange("2027-01-17"), false).await;
    let (_, _, second) = compare(&world, &strange("2027-01-18"), false).await;
    assert_eq!((kinds(&first), kinds(&second)), (vec![Kind::OnlyInFile], vec![Kind::OnlyInFile]));
    rule(&world, &second[0], Standing::Matched, "ann", Some(two)).await;
    rule(&world, &first[0], Standing::Matched, "ann", Some(two)).await;
    let told = vec![("0.30".to_owned(), true), ("2.59".to_owned(), true)];
    assert_eq!((fees(&world).await, missing(&world).await), (told.clone(), 0));
    // Another payment of the same charge has a fee of its own.
    let (_, _, found) =
        compare(&world, &format!("{HEADER}payment,x-2,,12.00,0.30,11.70,USD,2027-01-17,\n"), false).await;
    rule(&world, &found[0], Standing::Matched, "ann", Some(two)).await;
    let told = [vec![("0.30".to_owned(), true)], told].concat();
    assert_eq!((fees(&world).await, missing(&world).await), (told, 0));
}

async fn what_a_person_matched_is_told_before(backend: Backend) {
    let Some(world) = paid(backend, "matched before", LateReturn::Failed).await else { return };
    let (payment, key) = payment_of(&world, "sub-1").await;
    let charge = world.charges_of("sub-1").await[0].id;
    // By the counter's own number: a person says that it is this payment.
    let told = format!("{HEADER}payment,,counter-17,79.00,2.59,76.41,USD,2027-01-17,\n");
    let (_, _, found) = compare(&world, &told, false).await;
    assert_eq!(kinds(&found), [Kind::OnlyInFile]);
    rule(&world, &found[0], Standing::Matched, "ann", Some(charge)).await;
    assert_eq!(fees(&world).await, [("2.59".to_owned(), true)]);
    let others = ["sub-2", "sub-3"].map(|id| payment_of(&world, id));
    let mut lines = Vec::new();
    for other in others {
        let (payment, key) = other.await;
        lines.push(payment_line(&payment, &key).replace("2.59,76.41", ","));
    }
    let (_, _, found) = compare(&world, &[HEADER, &lines.concat()].concat(), true).await;
    assert_eq!(kinds(&found), [], "it is in a file");
    let (_, _, found) = compare(&world, &[HEADER, &payment_line(&payment, &key)].concat(), false).await;
    assert_eq!(kinds(&found), [Kind::Duplicate], "told before, in other words");
    rule(&world, &found[0], Standing::Matched, "ann", Some(charge)).await;
    assert_eq!((fees(&world).await, missing(&world).await), (vec![("2.59".to_owned(), true)], 0));
}

async fn what_came_and_went_between_two_looks_is_explained_as_a_pair(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "came and went").await else { return };
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let method = bank(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R07 }, 1);
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", method)]).await;
    world.run_until("2027-01-20T12:00:00Z").await;
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "failed");
    let (payment, key) = payment_of(&world, "sub-1").await;
    let came = format!("payment,{payment},{key},79.00,2.59,76.41,USD,2027-01-18,\n");
    let went = format!("return,{payment},{key},79.00,,,USD,2027-01-18,R07\n");
    let (_, _, found) = compare(&world, &format!("{HEADER}{came}"), false).await;
    assert_eq!(kinds(&found), [Kind::PaidThereNotHere], "alone it is money that the book does not have");
    assert_eq!(fees(&world).await, []);
    let (_, _, found) = compare(&world, &format!("{HEADER}{came}{went}"), false).await;
    assert_eq!(kinds(&found), [], "its other half explains both");
    assert_eq!(world.store.exceptions_open(MERCHANT).await.unwrap(), 0);
    assert_eq!(fees(&world).await, [("2.59".to_owned(), true)], "and its fee belongs to something");
    assert_eq!(missing(&world).await, 0);
}

async fn one_payment_in_two_wordings_is_told_twice_whichever_comes_first(backend: Backend) {
    for by_key_first in [true, false] {
        let Some(world) = paid(backend, "two wordings", LateReturn::Failed).await else { return };
        let (payment, key) = payment_of(&world, "sub-1").await;
        let fee = "79.00,2.59,76.41,USD,2027-01-17,";
        let mut told = [format!("{HEADER}payment,,{key},{fee}\n"), format!("{HEADER}payment,{payment},,{fee}\n")];
        if !by_key_first {
            told.reverse();
        }
        let (_, _, found) = compare(&world, &told[0], false).await;
        assert_eq!(kinds(&found), []);
        let (_, _, found) = compare(&world, &told[1], false).await;
        assert_eq!((kinds(&found), found[0].finding.sides.difference()), (vec![Kind::Duplicate], 7_900));
        let capitals = payment.to_ascii_uppercase();
        let (_, _, found) = compare(&world, &format!("{HEADER}payment,{capitals},{key},{fee}\n"), false).await;
        assert_eq!(kinds(&found), [Kind::RepeatedRow]);
        assert_eq!(fees(&world).await, [("2.59".to_owned(), true)], "kept once");
    }
}

async fn one_refund_in_two_wordings_is_told_twice(backend: Backend) {
    let Some(world) = paid(backend, "a refund in two wordings", LateReturn::Failed).await else { return };
    let charge = world.charges_of("sub-1").await[0].id;
    let gateway = Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
    let refunds = Refunds::new(world.engine.clone(), gateway);
    refunds.record(charge, &Wish::all(Reason::parse("a gift").unwrap()), "ann").await.unwrap();
    refunds.run_once_until(CancellationToken::new()).await.unwrap();
    world.run_until("2027-01-25T12:00:00Z").await;
    refunds.run_once_until(CancellationToken::new()).await.unwrap();
    let refund = world.store.refunds_of(charge).await.unwrap().remove(0).refund;
    let said = "79.00,1.00,,USD,2027-01-20,";
    let by_key = format!("{HEADER}refund,,{},{said}\n", refund.key);
    let by_id = format!("{HEADER}refund,{},,{said}\n", refund.gateway_id.unwrap());
    let (_, _, found) = compare(&world, &by_key, false).await;
    assert_eq!(kinds(&found), []);
    let (_, _, found) = compare(&world, &by_id, false).await;
    assert_eq!((kinds(&found), found[0].finding.sides.difference()), (vec![Kind::RepeatedRow], -7_900));
    assert_eq!(fees(&world).await, [("1.00".to_owned(), true)], "kept once");
}

async fn two_merchants_that_are_told_the_same_each_have_their_fee(backend: Backend) {
    let Some(world) = paid(backend, "two merchants", LateReturn::Failed).await else { return };
    let told = rows(&format!("{HEADER}fee,,,25.00,,,USD,2027-01-31,\n"));
    for (merchant, posted) in [(MERCHANT, 1), (MerchantId(Uuid::from_u128(99)), 2)] {
        let new = NewRun {
            merchant,
            source: Source::File,
            span: Span { from: day("2027-01-31"), until: day("2027-01-31") },
            finals: false,
            by: "ann".to_owned(),
            at: world.now(),
            file: Some(wanted("", false).file),
            daily: false,
        };
        let BegunRun::New(run) = world.store.begin_recon(&new).await.unwrap() else { panic!("it is another one's") };
        let lease = world.now() + TimeDelta::seconds(90);
        let claimed = world.store.claim_recon(run.id, world.now(), lease).await.unwrap().unwrap();
        let page = Compared {
            run: Claimed { value: run.id, fence: claimed.fence },
            merchant,
            at: world.now(),
            lease_until: lease,
            stage: Stage::Done,
            place: None,
            asked: 0,
            moved: 0,
            sums: BTreeMap::new(),
            subjects: Vec::new(),
            findings: Vec::new(),
            rows: vec![KeptRow { row: told[0].clone(), charge: None, refund: None }],
        };
        assert!(world.store.keep_compared(&page).await.unwrap());
        assert_eq!(fees(&world).await, vec![("25.00".to_owned(), false); posted]);
        assert_eq!(missing(&world).await, 0);
    }
}

/// Every fee in the ledger: its amount, and whether it is about a charge.
async fn fees(world: &World) -> Vec<(String, bool)> {
    let entries = world.store.entries(ledger::Span::default(), None, 1_000).await.unwrap();
    let fees = entries.into_iter().map(|entry| entry.posting).filter(|posting| posting.posted == Posted::Fee);
    let mut fees: Vec<(String, bool)> = fees.map(|fee| (fee.amount.plain(), fee.charge.is_some())).collect();
    fees.sort();
    fees
}

async fn missing(world: &World) -> u64 {
    assert_eq!(world.store.differences(10).await.unwrap(), []);
    let (mut after, mut added) = (None, 0);
    loop {
        let done = world.store.mend_ledger(after, 2, world.now(), ("ann", "a look")).await.unwrap();
        (after, added) = (done.next, added + done.added);
        if after.is_none() {
            return added;
        }
    }
}

async fn what_the_gateway_keeps_is_posted_once_and_only_of_rows_that_belong_to_something(backend: Backend) {
    let Some(world) = paid(backend, "fees are posted", LateReturn::Failed).await else { return };
    let (payment, key) = payment_of(&world, "sub-1").await;
    let of_sub_1 = format!("payment,{payment},{key},79.00,2.59,76.41,USD,2027-01-17,\n");
    let text = format!(
        "{HEADER}{of_sub_1}fee,,,5.00,,,USD,2027-01-31,\npayment,x-1,,10.00,0.30,,USD,2027-01-17,\n\
         fee,x-2,,0.25,,,USD,2027-01-17,\n{of_sub_1}"
    );
    let (_, _, found) = compare(&world, &text, false).await;
    assert_eq!(kinds(&found), [Kind::OnlyInFile, Kind::OnlyInFile, Kind::RepeatedRow]);
    let told = vec![("2.59".to_owned(), true), ("5.00".to_owned(), false)];
    assert_eq!(fees(&world).await, told, "what nobody knows belongs to nobody yet");
    assert_eq!(missing(&world).await, 0);
    compare(&world, &format!("{HEADER}{of_sub_1}"), false).await;
    assert_eq!(fees(&world).await, told, "a file that overlaps tells of the same fee");
    let charge = world.charges_of("sub-2").await[0].id;
    let rule = async |place: usize, standing, by: &str, charge| {
        rule(&world, &found[place], standing, by, charge).await;
        missing(&world).await
    };
    assert_eq!(rule(0, Standing::Matched, "ann", Some(charge)).await, 0);
    let told = [vec![("0.30".to_owned(), true)], told].concat();
    assert_eq!(fees(&world).await, told, "matched, and posted with the word that matches it");
    let of_charge = world.store.entries_of(charge).await.unwrap();
    assert!(of_charge.iter().any(|entry| entry.posting.posted == Posted::Fee && entry.posting.plan.is_some()));
    assert_eq!(rule(1, Standing::Waived, "bob", None).await, 0);
    assert_eq!(rule(2, Standing::Matched, "ann", Some(charge)).await, 0);
    assert_eq!(fees(&world).await, told, "neither what is waived nor what was told twice is kept twice");
    let turnovers = world.store.turnovers(ledger::Span::default()).await.unwrap();
    let balances = ledger::trial(&turnovers, false);
    let balance = |account| balances[&(account, None, Currency::USD)].balance().unwrap();
    assert_eq!((balance(Account::Fees), balance(Account::Clearing)), (789, 3 * 7_900 - 789));
    assert_eq!(balances.values().map(|sides| sides.balance().unwrap()).sum::<i64>(), 0);
}

async fn a_fee_that_is_given_back_is_a_difference_and_never_posted(backend: Backend) {
    let Some(world) = paid(backend, "a fee that is waived", LateReturn::Failed).await else { return };
    let fee = |amount: &str| format!("fee,,,{amount},,,USD,2027-01-31,\n");
    let text = [HEADER, &fee("25.00"), &fee("5.00"), &fee("-25.00")].concat();
    let (_, sums, found) = compare(&world, &text, false).await;
    assert_eq!((kinds(&found), found[0].finding.sides.difference()), (vec![Kind::OnlyInFile], 2_500));
    assert_eq!(sums[&Currency::USD].theirs, 2_500);
    let told = vec![("25.00".to_owned(), false), ("5.00".to_owned(), false)];
    assert_eq!((fees(&world).await, missing(&world).await), (told.clone(), 0));
    let ruling = Ruling {
        standing: Standing::Matched,
        charge: None,
        by: "ann".to_owned(),
        reason: "waived in January".to_owned(),
        at: world.now(),
    };
    assert_eq!(world.store.rule(MERCHANT, found[0].id, &ruling).await.unwrap(), Ruled::Kept);
    assert_eq!((missing(&world).await, fees(&world).await), (0, told), "accounting writes it");
}

async fn a_fee_of_a_closed_month_that_is_told_late_counts_in_the_open_one(backend: Backend) {
    let Some(world) = paid(backend, "a late fee", LateReturn::Failed).await else { return };
    let bounds = (at("2027-01-01T00:00:00Z"), at("2027-02-01T00:00:00Z"));
    let [month, zone, by, reason] = ["2027-01", "UTC", "ann", "month end"].map(str::to_owned);
    let closing = Closing { month, zone, bounds, by, reason, at: at("2027-02-02T00:00:00Z") };
    for blocker in world.store.blockers("2027-01", bounds.1, 10).await.unwrap() {
        let which = (blocker.obstacle, blocker.culprit.as_str());
        assert!(world.store.waive("2027-01", which, ("bob", "not our test"), world.now()).await.unwrap());
    }
    assert_eq!(world.store.close_month(&closing).await.unwrap(), Closed::Yes);
    compare(&world, &format!("{HEADER}fee,,,5.00,,,USD,2027-01-31,\n"), false).await;
    let entries = world.store.entries(ledger::Span::default(), None, 1_000).await.unwrap();
    let fee = entries.iter().find(|entry| entry.posting.posted == Posted::Fee).unwrap();
    assert_eq!((fee.posting.at, fee.booked_at), (at("2027-01-31T12:00:00Z"), bounds.1));
}
