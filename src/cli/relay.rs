//! `svar resume-relay`: a person has mended what the relay complained of.

use super::{Exit, Failure, Office, show};

/// Runs the command.
pub(super) async fn resume(office: &Office) -> Result<Exit, Failure> {
    let paused = office.store.paused_relays().await?;
    if paused.is_empty() {
        show::line("no relay is paused")?;
    }
    for relay in paused {
        office.store.resume_relay(office.now(), &relay.name).await?;
        show::line(&format!("{} is used again; it had been paused for: {}", relay.name, show::plain(&relay.why)))?;
    }
    Ok(Exit::Done)
}
