//! A widget session: made, waited for, sent to a customer, finished; and one that nobody finishes.
//!
//! ```sh
//! cargo run -p ccg --example sessions
//! ```

mod common;

use ccg::{Channel, CreateSession, SessionEnd, SessionMode, SessionPayment, SessionStatus};
use common::{begin, checked, customer, say};
use sandbox::SessionOutcome;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (gateway, client) = begin().await?;

    let session = CreateSession::new(SessionMode::PaymentWithWallet)
        .for_customer(customer())
        .with_payment(SessionPayment::sale("inv-1-a1", 4_200))
        .with_card_channels([Channel::Webform, Channel::ApplePay]);
    let session = checked(session.ready())?;
    let made = client.create_session(&session).await?.value;
    say(format!("session {} is {}", made.id, made.status))?;

    let ready = client.get_session(&made.id).await?.value;
    anyhow::ensure!(ready.status == SessionStatus::Created && ready.hosted_url.is_some(), "its page is not ready");
    // Whoever has the page's address may pay, so it is shown to the customer and written nowhere else.
    say("its page is ready: send the customer there")?;

    // Here nobody clicks; the sandbox is told what the customer does.
    gateway.play_session(made.id.parse()?, SessionOutcome::Completed);
    let done = client.get_session(&made.id).await?.value;
    say(format!("it is {}", done.status))?;
    anyhow::ensure!(done.status == SessionStatus::Completed, "the session is {}", done.status);

    let slow = client.create_session(&session).await?.value;
    gateway.play_session(slow.id.parse()?, SessionOutcome::TimedOut);
    let Err(error) = client.get_session(&slow.id).await else { anyhow::bail!("the session should be over") };
    anyhow::ensure!(error.session_end() == Some(SessionEnd::TimedOut), "{error}");
    say("the second one ran out of time: make another")
}
