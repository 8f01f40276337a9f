//! Deliveries that are not what they seem: forged, replayed, swapped, cut; and a process that is killed behind its own 202.

use std::sync::Arc;
use std::time::{Duration, Instant};

use autopay::api::webhooks::{Door, LARGEST_BODY};
use autopay::api::{self, Health};
use autopay::clock::TurnedClock;
use autopay::gateway::CcgDoorman;
use autopay::ports::webhooks::{Doorman, InboxState};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::TimeDelta;
use domain::id::MerchantId;
use sandbox::{Behaviour, Options, WebhookOptions};
use sea_orm::{ConnectionTrait as _, Statement};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::crash::{Moments, WallTime as _, configuration, rest, serve};
use crate::webhook_support::{Hooked, Recorder, Sent, deliver, listen, ports, sender};
use crate::world::{Backend, MERCHANT, World, bank, card, plan, subscriber};

const BEGIN: &str = "2027-01-15T10:00:00Z";

/// URL-safe base64 without padding, as tokens are written.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let letter = word >> (18 - 6 * place) & 63;
            text.push(char::from(LETTERS[usize::try_from(letter).unwrap()]));
        }
    }
    text
}

/// HMAC-SHA-256: what a token is signed with whose forger takes the public key for a shared secret.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    let short = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    block[..short.len()].copy_from_slice(&short);
    let pad = |with: u8| block.map(|byte| byte ^ with).to_vec();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat()).to_vec();
    Sha256::digest([pad(0x5c), inner].concat()).to_vec()
}

fn token(header: &serde_json::Value, claims: &serde_json::Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    format!("Bearer {signed}.{}", base64(&sign(signed.as_bytes())))
}

/// Tokens that nobody may believe, each with the code it is turned away with.
fn forgeries(public_key: &str, merchant: MerchantId, now: i64) -> Vec<(&'static str, String, u16)> {
    let claims = serde_json::json!({"sub": merchant.to_string(), "iat": now, "exp": now + 3_600});
    let header = |alg: &str| serde_json::json!({"alg": alg, "typ": "JWT"});
    let nothing = |_: &[u8]| Vec::new();
    let noise = |text: &[u8]| [Sha256::digest(text), Sha256::digest(b"x")].concat();
    vec![
        ("alg none", token(&header("none"), &claims, nothing), 401),
        ("alg None", token(&header("None"), &claims, nothing), 401),
        ("HS256 with the public key", token(&header("HS256"), &claims, |text| hmac(public_key.as_bytes(), text)), 401),
        ("RS256", token(&header("RS256"), &claims, noise), 401),
        ("ES384", token(&header("ES384"), &claims, noise), 401),
        ("ES256 with noise", token(&header("ES256"), &claims, noise), 503),
        ("no signature", token(&header("ES256"), &claims, nothing), 503),
        ("another scheme", "Basic YTpi".to_owned(), 401),
        ("no token", "Bearer ".to_owned(), 401),
        ("garbage", "Bearer a.b.c".to_owned(), 401),
        ("two parts", "Bearer a.b".to_owned(), 401),
        ("a long token", format!("Bearer {}", "a".repeat(5_000)), 401),
    ]
}

/// A world with paid, failed and settling charges, and the true deliveries about them.
async fn storied(backend: Backend, test: &str) -> Option<(Hooked, Vec<Sent>)> {
    let hooked = Hooked::begin_deaf(backend, BEGIN, test, Options::default()).await?;
    let (recorder, stop) = (Recorder::default(), CancellationToken::new());
    let url = recorder.listen(stop.clone()).await;
    hooked.world.sandbox().set_webhooks(WebhookOptions { url: Some(url), ..WebhookOptions::default() }).unwrap();
    hooked.world.apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00")]).await;
    let methods = (1..=20_u64).map(|n| match n % 4 {
        0 => bank(Behaviour::AchSettles { days: Some(2) }, n),
        1 => card(Behaviour::DeclinesWith(sandbox::DeclineCode::StolenCard), n),
        _ => card(Behaviour::Pays, n),
    });
    let rows = (1..).zip(methods).map(|(n, method)| subscriber(&format!("sub-{n:02}"), "gold", "2027-01-15", method));
    hooked.world.enrol(rows.collect()).await;
    hooked.world.turn_to("2027-01-15T11:00:00Z");
    hooked.world.run().await;
    hooked.world.sandbox().webhooks_settled().await;
    stop.cancel();
    let heard = recorder.heard();
    assert_eq!(heard.len(), 20);
    Some((hooked, heard))
}

/// Everything the charge tables hold, row by row.
async fn dump(url: &str) -> Vec<String> {
    let database = open(&DatabaseUrl::parse(url).unwrap(), Pool::engine(1)).await.unwrap();
    let mut rows = Vec::new();
    for (table, key) in
        [("subscription", "id"), ("charge", "id"), ("attempt", "charge_id"), ("observation", "id"), ("audit", "id")]
    {
        let columns = Statement::from_string(
            database.get_database_backend(),
            // Seals begin with the random name of the database's own chain.
            format!("SELECT name FROM pragma_table_info('{table}') WHERE name <> 'seal'"),
        );
        let names: Vec<String> =
            database.query_all_raw(columns).await.unwrap().iter().map(|row| row.try_get("", "name").unwrap()).collect();
        let whole = names.iter().map(|name| format!("quote({name})")).collect::<Vec<_>>().join(" || ',' || ");
        let sql = format!("SELECT {whole} AS whole FROM {table} ORDER BY {key}, 1");
        let found = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap();
        rows.extend(found.iter().map(|row| format!("{table} {}", row.try_get::<String>("", "whole").unwrap())));
    }
    database.close().await.unwrap();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_forged_and_replayed_deliveries_change_nothing_but_the_count_of_deliveries() {
    let (hooked, true_ones) = storied(Backend::Sqlite, "forged").await.unwrap();
    let client = sender();
    for sent in &true_ones {
        assert_eq!(deliver(&client, &hooked.url, Some(&sent.authorization), sent.body.clone()).await.0, 202);
    }
    hooked.intake.drain().await.unwrap();
    hooked.world.run().await;
    hooked.intake.drain().await.unwrap();
    let before = dump(hooked.world.url()).await;
    let keys = hooked.world.sandbox().webhook_keys().unwrap();
    let forged = forgeries(&keys[0], MERCHANT, hooked.world.now().timestamp());
    let mut moments = Moments::seeded(77);
    let mut replayed = 0_u64;
    for _ in 0..10_000 / 20 {
        let mut batch = Vec::new();
        for _ in 0..20 {
            let pick = |moments: &mut Moments, most: usize| {
                usize::try_from(moments.below(u64::try_from(most).unwrap())).unwrap()
            };
            let sent = &true_ones[pick(&mut moments, true_ones.len())];
            // One in ten is a true delivery again; of the others nine bear a token that is nobody's.
            if moments.below(10) == 0 {
                replayed += 1;
                batch.push((sent.authorization.clone(), sent.body.clone(), 202));
            } else {
                let (_, token, code) = &forged[pick(&mut moments, forged.len())];
                batch.push((token.clone(), sent.body.clone(), *code));
            }
        }
        let answers = batch.iter().map(|(token, body, _)| deliver(&client, &hooked.url, Some(token), body.clone()));
        let answers = futures_util::future::join_all(answers).await;
        for ((token, _, code), (answered, problem)) in batch.iter().zip(answers) {
            assert_eq!(answered, *code, "{token} {problem}");
        }
    }
    let looked = hooked.intake.drain().await.unwrap();
    assert_eq!((looked.asked, looked.ended), (0, 0), "nothing of it was kept");
    assert_eq!(hooked.world.run().await.items, 0);
    assert_eq!(dump(hooked.world.url()).await, before);
    let rows = hooked.rows().await;
    assert_eq!((rows.len(), rows.iter().map(|row| row.deliveries).sum::<u64>()), (20, 20 + replayed));
    hooked.balance().await;
}

/// A leaked token with other bodies: true ones of other payments, with another status, amount or name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_bodies_under_a_true_token_cause_questions_and_change_no_charge() {
    let (hooked, true_ones) = storied(Backend::Sqlite, "swapped").await.unwrap();
    for sent in &true_ones {
        hooked.keep(&sent.body).await;
    }
    hooked.intake.drain().await.unwrap();
    hooked.world.run().await;
    let charges = async |hooked: &Hooked| hooked.world.charges().await;
    let (before, attempts) = (charges(&hooked).await, dump(hooked.world.url()).await);
    let client = sender();
    let names = ["PAYMENT_FAILED", "PAYMENT_SUCCEEDED", "PAYMENT_CANCELLED", "PAYMENT_REFUNDED", "PAYMENT_WHATEVER"];
    let mut moments = Moments::seeded(78);
    let mut swapped = 0;
    for round in 0..60_u64 {
        for n in 0..20 {
            let (token, body) = (&true_ones[n], &true_ones[(n + 7) % 20]);
            let mut event: serde_json::Value = serde_json::from_slice(&body.body).unwrap();
            event["name"] = names[usize::try_from(moments.below(5)).unwrap()].into();
            event["payload"]["amount"] = (1 + round * 20 + u64::try_from(n).unwrap()).into();
            event["payload"]["status"] =
                ["FAILED", "COMPLETED", "CANCELLED"][usize::try_from(moments.below(3)).unwrap()].into();
            let (code, _) =
                deliver(&client, &hooked.url, Some(&token.authorization), event.to_string().into_bytes()).await;
            assert_eq!(code, 202);
            swapped += 1;
        }
        hooked.intake.drain().await.unwrap();
        hooked.world.run().await;
        hooked.intake.drain().await.unwrap();
        hooked.world.turn(TimeDelta::seconds(3));
    }
    hooked.intake.drain().await.unwrap();
    hooked.world.run().await;
    assert_eq!(hooked.rows().await.len(), 20 + swapped);
    // The ladders of what is settling are where they were: lies use up no rung.
    assert_eq!(charges(&hooked).await, before);
    let of =
        |rows: &[String], table: &str| rows.iter().filter(|row| row.starts_with(table)).cloned().collect::<Vec<_>>();
    let after = dump(hooked.world.url()).await;
    assert_eq!(of(&after, "subscription"), of(&attempts, "subscription"));
    assert_eq!(of(&after, "attempt").len(), of(&attempts, "attempt").len());
    hooked.balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_certainly_not_the_gateways_is_refused_and_whatever_may_be_is_asked_to_come_again() {
    let (hooked, true_ones) = storied(Backend::Memory, "door").await.unwrap();
    let (client, now) = (sender(), hooked.world.now().timestamp());
    let keys = hooked.world.sandbox().webhook_keys().unwrap();
    let sent = &true_ones[0];
    for (what, token, code) in forgeries(&keys[0], MERCHANT, now) {
        let (answered, problem) = deliver(&client, &hooked.url, Some(&token), sent.body.clone()).await;
        assert_eq!(answered, code, "{what}: {problem}");
        let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
        assert_eq!((problem["status"].as_u64(), problem["money_moved"].as_str()), (Some(u64::from(code)), Some("no")));
        assert_eq!(problem["retry"], if code == 503 { "yes" } else { "no" });
    }
    assert_eq!(deliver(&client, &hooked.url, None, sent.body.clone()).await.0, 401);
    // Two tokens, one of them true.
    let two =
        client.post(&hooked.url).header("authorization", &sent.authorization).header("authorization", "Bearer a.b.c");
    assert_eq!(two.body(sent.body.clone()).send().await.unwrap().status().as_u16(), 401);
    let large = |size: usize| vec![b' '; size];
    assert_eq!(deliver(&client, &hooked.url, Some(&sent.authorization), large(LARGEST_BODY + 1)).await.0, 413);
    assert_eq!(deliver(&client, &hooked.url, Some(&sent.authorization), large(LARGEST_BODY)).await.0, 202);
    assert_eq!(client.get(&hooked.url).send().await.unwrap().status().as_u16(), 405);
    // Any bytes under a true token are kept and harm nobody.
    let mut moments = Moments::seeded(5);
    for size in 0..60_u64 {
        let bytes = (0..size * 7).map(|_| u8::try_from(moments.below(256)).unwrap()).collect();
        assert_eq!(deliver(&client, &hooked.url, Some(&sent.authorization), bytes).await.0, 202);
    }
    // Its end by our clock: our clock may be wrong.
    hooked.world.turn(TimeDelta::hours(5));
    let (answered, _) = deliver(&client, &hooked.url, Some(&sent.authorization), sent.body.clone()).await;
    assert_eq!(answered, 503);
    let answer = client.post(&hooked.url).header("authorization", &sent.authorization).send().await.unwrap();
    assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    hooked.intake.drain().await.unwrap();
    let unreadable = hooked.ports.inbox.inbox_rows(&[InboxState::Unreadable], 0, 1_000).await.unwrap();
    assert_eq!(unreadable.len(), hooked.rows().await.len(), "nothing but noise was kept");
    // Another merchant's delivery, under the same key.
    let doorman: Arc<dyn Doorman> =
        Arc::new(CcgDoorman::new(MerchantId(uuid::Uuid::from_u128(9)), &keys[..1]).unwrap());
    let clock = Arc::new(TurnedClock::new("2027-01-15T11:00:00Z".parse().unwrap()));
    let door = Door::new(doorman.clone(), MERCHANT, clock);
    let (address, stop) = listen(door).await;
    let url = format!("http://{address}{}", api::webhooks::PATH);
    assert_eq!(deliver(&client, &url, Some(&sent.authorization), sent.body.clone()).await.0, 403);
    stop.cancel();
    hooked.balance().await;
}

#[tokio::test]
async fn without_keys_there_is_no_such_address_and_before_the_database_is_reached_it_is_503() {
    let (hooked, true_ones) = storied(Backend::Memory, "closed").await.unwrap();
    let (client, sent) = (sender(), &true_ones[0]);
    let bound = api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop) = (bound.address, CancellationToken::new());
    tokio::spawn(bound.serve(api::router(Health::default(), None, None), stop.clone()));
    let url = format!("http://{address}{}", api::webhooks::PATH);
    assert_eq!(deliver(&client, &url, Some(&sent.authorization), sent.body.clone()).await.0, 404);
    stop.cancel();
    let (address, stop) = listen(Door::new(hooked.doorman.clone(), MERCHANT, hooked.world.clock.clone())).await;
    let url = format!("http://{address}{}", api::webhooks::PATH);
    let (code, problem) = deliver(&client, &url, Some(&sent.authorization), sent.body.clone()).await;
    assert_eq!(code, 503, "{problem}");
    assert!(problem.contains("starting"), "{problem}");
    stop.cancel();
    hooked.balance().await;
}

/// Rounds of the killed process; each accepts deliveries until it is killed behind one of its 202s.
const ROUNDS: u64 = 12;
const EVENTS: u64 = 240;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_behind_its_202_loses_no_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let now = chrono::Utc::now_of_the_test();
    let begin = now - TimeDelta::days(3);
    let clock = Arc::new(TurnedClock::new(begin));
    // The book is charged three days ago, in process; the banks finish today, and the real process hears of it.
    let (ports, keep, url) = ports(Backend::Sqlite, clock.clone(), "killed").await.unwrap();
    let options = Options::default();
    let mut world =
        World::begin_around(Backend::Sqlite, clock.clone(), (ports.store.clone(), keep, url), options).await;
    world.apply(&[plan("gold", "1 year", "UTC", "00:00", "79.00")]).await;
    let today = begin.date_naive().to_string();
    let rows = (0..EVENTS)
        .map(|n| subscriber(&format!("sub-{n:03}"), "gold", &today, bank(Behaviour::AchSettles { days: Some(3) }, n)));
    world.enrol(rows.collect()).await;
    world.run().await;
    let keys = world.sandbox().webhook_keys().unwrap();
    std::fs::write(folder.path().join("gateway.pem"), &keys[0]).unwrap();
    let (recorder, stop) = (Recorder::default(), CancellationToken::new());
    let url = recorder.listen(stop.clone()).await;
    world.sandbox().set_webhooks(WebhookOptions { url: Some(url), ..WebhookOptions::default() }).unwrap();
    world.turn(TimeDelta::days(3));
    world.sandbox().webhooks_settled().await;
    stop.cancel();
    let heard: Vec<Sent> = recorder
        .heard()
        .into_iter()
        .filter(|sent| String::from_utf8_lossy(&sent.body).contains("PAYMENT_SUCCEEDED"))
        .collect();
    assert_eq!(u64::try_from(heard.len()).unwrap(), EVENTS);
    let port = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let more = format!("[webhooks]\npublic_key_files = [\"{}\"]\n", folder.path().join("gateway.pem").display());
    let configuration = configuration(folder.path(), world.url(), world.sandbox(), &more);
    let text = std::fs::read_to_string(&configuration).unwrap().replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    std::fs::write(&configuration, text).unwrap();
    let log = folder.path().join("log");
    let (client, url) = (sender(), format!("http://127.0.0.1:{port}{}", api::webhooks::PATH));
    let mut moments = Moments::seeded(31);
    let mut accepted = std::collections::BTreeSet::new();
    let mut met_new = 0;
    for round in 0..ROUNDS {
        let mut process = serve(&configuration, &log);
        ready(&client, port, &log).await;
        let share = usize::try_from(EVENTS / ROUNDS).unwrap();
        let batch = &heard[usize::try_from(round).unwrap() * share..][..share];
        let last = usize::try_from(moments.below(u64::try_from(share).unwrap())).unwrap();
        for sent in batch.iter().take(last + 1) {
            let (code, said) = deliver(&client, &url, Some(&sent.authorization), sent.body.clone()).await;
            assert_eq!(code, 202, "{said}");
            accepted.insert(sent.body.clone());
        }
        process.kill().unwrap();
        process.wait().unwrap();
        met_new += ports.inbox.inbox_backlog(MERCHANT).await.unwrap();
        let kept = ports.inbox.inbox_rows(&[], 0, 1_000).await.unwrap();
        assert_eq!(kept.len(), accepted.len(), "what was answered 202 is in the inbox");
    }
    assert!(met_new > 0, "no kill fell between the answer and the intake: nothing was tested");
    // One process looks at the rest.
    let mut process = serve(&configuration, &log);
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        rest(Duration::from_millis(100)).await;
        let done = ports.inbox.inbox_rows(&[InboxState::Done], 0, 1_000).await.unwrap();
        if done.len() == accepted.len() {
            break;
        }
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
    }
    process.kill().unwrap();
    process.wait().unwrap();
    world.sandbox.take().unwrap().stop().await;
}

async fn ready(client: &reqwest::Client, port: u16, log: &std::path::Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = client.get(format!("http://127.0.0.1:{port}/startupz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(log).unwrap_or_default());
        rest(Duration::from_millis(20)).await;
    }
}
