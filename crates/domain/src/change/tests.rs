use super::*;

fn plan(id: &str) -> Object {
    Object::Plan(PlanId::parse(id).unwrap())
}

fn yes(by: &str, sha256: &str) -> Approval {
    Approval { by: by.into(), at: DateTime::<Utc>::UNIX_EPOCH, comment: "checked".into(), sha256: sha256.into() }
}

fn facts(approvals: Vec<Approval>) -> Facts {
    let mut base = Versions { live: 3, ..Versions::default() };
    base.set(&plan("gold"), 2);
    Facts {
        author: "Ada".into(),
        standing: Standing::Open,
        sha256: "h".into(),
        stored_sha256: "h".into(),
        base,
        touched: BTreeSet::from([plan("gold")]),
        approvals,
    }
}

#[test]
fn the_number_of_a_change_set_is_read_in_every_spelling() {
    for text in ["CS-12", "cs-12", "12"] {
        assert_eq!(text.parse(), Ok(ChangeSetId(12)), "{text}");
    }
    for text in ["", "CS-", "CS-0", "CS--1", "CS-1x", "+1", "99999999999999999999"] {
        assert!(text.parse::<ChangeSetId>().is_err(), "{text}");
    }
    assert_eq!(ChangeSetId(12).to_string(), "CS-12");
}

#[test]
fn more_than_five_hundred_subscriptions_need_a_second_person() {
    let rule = ApprovalRule::default();
    assert_eq!([0, 1, 500, 501, u64::MAX].map(|touched| rule.needed(touched)), [1, 1, 1, 2, 2]);
}

#[test]
fn nobody_approves_their_own_and_nobody_counts_twice() {
    let open = facts(vec![]);
    assert_eq!(open.may_approve(" ada "), Err(Refusal::Author));
    assert_eq!(open.may_approve("Bob"), Ok(()));
    let once = facts(vec![yes("Bob", "h")]);
    assert_eq!(once.may_approve("BOB"), Err(Refusal::Again));
    let many = facts(vec![yes("Bob", "h"), yes("bob ", "h"), yes("Ada", "h"), yes("Cleo", "other")]);
    assert_eq!(many.approvers(), 1);
}

#[test]
fn an_edit_voids_every_approval() {
    let mut edited = facts(vec![yes("Bob", "h")]);
    edited.stored_sha256 = "other".into();
    assert_eq!(edited.may_apply(&edited.base, 1), Err(Refusal::Edited));
    assert_eq!(edited.may_approve("Cleo"), Err(Refusal::Edited));
    assert_eq!(edited.may_close(Standing::Withdrawn, "Ada"), Ok(()));
    // Whoever edits the hash too still has nobody's approval of it.
    edited.sha256 = "other".into();
    assert_eq!(edited.may_apply(&edited.base, 1), Err(Refusal::Waiting { have: 0, needed: 1 }));
}

#[test]
fn what_moved_is_told_with_whether_it_overlaps() {
    let waiting = facts(vec![]);
    let mut live = waiting.base.clone();
    live.set(&plan("gold"), 3);
    live.set(&plan("silver"), 1);
    live.live = 5;
    let Err(Refusal::Moved { moved }) = waiting.may_apply(&live, 1) else { panic!("it moved") };
    let told: Vec<String> = moved.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "plan gold was at version 2 and is at 3 (this change set changes it too)",
            "plan silver was at version none and is at 1 (this change set does not touch it)"
        ]
    );
    assert_eq!(waiting.may_apply(&waiting.base, 1), Err(Refusal::Waiting { have: 0, needed: 1 }));
    assert_eq!(facts(vec![yes("Bob", "h")]).may_apply(&waiting.base, 1), Ok(()));
}

#[test]
fn authors_withdraw_and_others_reject_and_only_once() {
    let open = facts(vec![]);
    assert_eq!(open.may_close(Standing::Rejected, "Ada"), Err(Refusal::Author));
    assert_eq!(open.may_close(Standing::Withdrawn, "Bob"), Err(Refusal::NotAuthor));
    assert_eq!(open.may_close(Standing::Rejected, "Bob"), Ok(()));
    let mut settled = facts(vec![yes("Bob", "h")]);
    for standing in [Standing::Applied, Standing::Rejected, Standing::Withdrawn] {
        settled.standing = standing;
        let refused = Err(Refusal::Settled { standing });
        assert_eq!(settled.may_apply(&settled.base, 1), refused);
        assert_eq!(settled.may_approve("Cleo"), refused);
        assert_eq!(settled.may_close(Standing::Withdrawn, "Ada"), refused);
    }
}

#[test]
fn everything_but_words_bears_on_money() {
    for field in
        ["amount.value", "amount.step[2027-01-01].value", "schedule.charge_at", "step[1 day].for", "gold.csv[R1]"]
    {
        assert!(is_money(field), "{field}");
    }
    for field in ["name", "owner", "ledger.debit", "schema"] {
        assert!(!is_money(field), "{field}");
    }
}
