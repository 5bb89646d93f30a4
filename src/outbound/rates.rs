//! A campaign whose mail goes to dead addresses, or is called junk, too often is paused, and its organiser told (S-54, S-55).
//!
//! One step looks at the newest edition of each active campaign. The rule is `model/rates`; who resumes the campaign is obeyed, because
//! only mails that leave from then on are counted.

use tracing::{error, warn};

use crate::config::Sender;
use crate::model::rates::{Rate, Tally, Verdict, judge};
use crate::model::token::Keys;
use crate::store::{Error, Judged, NewNotice, Store};

/// Judges all active campaigns. How many were paused.
///
/// # Errors
/// Where the database fails; what was not judged is by the next step.
pub async fn step(store: &Store, sender: &Sender, keys: &Keys, sample: u64, now: i64) -> Result<usize, Error> {
    let mut paused = 0;
    for judged in store.list_judged(now).await? {
        let tally = store.tally(&judged).await?;
        match judge(tally, sample) {
            Verdict::Fine => {}
            Verdict::Warn(_) if judged.warned_at.is_some() => {}
            Verdict::Warn(rate) => {
                let why = in_words(rate, tally);
                if store.warn_of_rates(now, &judged, &why, word(sender, keys, &judged, &why, false).as_ref()).await? {
                    warn!(campaign.name = judged.campaign, reason = why, "warned: a rate is high");
                }
            }
            Verdict::Pause(rate) => {
                let why = in_words(rate, tally);
                match store.pause_for_rates(now, &judged, &why, word(sender, keys, &judged, &why, true).as_ref()).await {
                    Ok(()) => {
                        error!(campaign.name = judged.campaign, reason = why, "paused: a rate is too high");
                        paused += 1;
                    }
                    // a person or another daemon was first
                    Err(Error::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(paused)
}

/// The numbers, for the history, the status and the mail.
fn in_words(rate: Rate, tally: Tally) -> String {
    let (count, what, bound) = match rate {
        Rate::HardBounces => {
            (tally.hard_bounces, "went to addresses that do not exist", "more than 5 % cost you the trust of mailbox providers")
        }
        Rate::Complaints => (tally.complaints, "were called junk by their readers", "providers stop taking your mail at 0.30 %"),
    };
    format!("{count} of {} mails {what} ({}); {bound}", tally.mails, percent(count, tally.mails))
}

/// `5.25 %`, cut.
fn percent(count: u64, of: u64) -> String {
    let hundredths = count.saturating_mul(10_000) / of.max(1);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// The word to the organiser, in both languages as long as no campaign's language is asked for it.
fn word(sender: &Sender, keys: &Keys, judged: &Judged, why: &str, paused: bool) -> Option<NewNotice> {
    let name = &judged.campaign;
    let (subject, lead) = if paused {
        (format!("svar: {name} is paused / {name} är pausat"), format!("{name} is paused by svar, and nothing more of it leaves."))
    } else {
        (format!("svar: complaints about {name} / klagomål på {name}"), format!("{name} goes on, but look at it before it is paused."))
    };
    let todo = "Look at where the addresses come from, and whether these people know you. Those that were found dead or have complained get\n\
                no more mail already. When you have mended the cause, let it go on; only mails that leave from then on are counted.";
    let swedish = if paused {
        format!(
            "{name} är pausat av svar. För många adresser finns inte, eller för många läsare har kallat mejlet skräp. Se över listan innan\ndu låter det gå vidare med kommandot ovan."
        )
    } else {
        format!("Läsare har kallat {name} skräp. Se över listan; vid 0,30 % pausas det.")
    };
    let go_on = if paused { format!("  svar campaign resume {name}\n") } else { String::new() };
    let body = format!("{lead}\n\n{why}.\n\n{todo}\n\n  svar status {name} --people --state failed\n{go_on}\n{swedish}\n");
    let notify = sender.notify.as_ref()?;
    Some(NewNotice {
        about: "rates",
        recipient: notify.to_string(),
        contact_id: None,
        says: format!("rates of {name}"),
        subject,
        body,
        in_reply_to: String::new(),
        references: String::new(),
        key_id: keys.current(),
        reply_to: sender.from.address.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_the_numbers() {
        let tally = Tally { mails: 1_000, hard_bounces: 61, complaints: 3 };
        assert!(in_words(Rate::HardBounces, tally).starts_with("61 of 1000 mails went to addresses that do not exist (6.10 %)"));
        assert!(in_words(Rate::Complaints, tally).starts_with("3 of 1000 mails were called junk by their readers (0.30 %)"));
    }
}
