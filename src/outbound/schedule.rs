//! A campaign whose time has come opens an edition, once; it leaves when everybody's mail can be made.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use std::time::Duration;
use tracing::{error, info, warn};

use super::check;
use super::layout::Layout;
use crate::clock::Clock;
use crate::config::Sender;
use crate::model::campaign::CampaignFile;
use crate::model::event::Cause;
use crate::model::schedule::Occurrence;
use crate::store::{DueCampaign, Error, Opened, Store};

/// What a firing needs to know.
#[derive(Debug)]
pub struct Scheduler<'a> {
    /// The organiser's zone.
    pub zone: Tz,
    /// The templates of the moment: an edition keeps a snapshot of them.
    pub layout: &'a Layout,
    /// The key that signs new tokens.
    pub key_id: u8,
    /// A firing later than this is not sent unasked (S-166).
    pub grace: Duration,
}

/// Opens the editions whose time has come. How many were opened.
///
/// # Errors
/// Where the database fails; what was opened stays open, the rest comes again.
pub async fn step(store: &Store, with: &Scheduler<'_>, now: DateTime<Utc>) -> Result<usize, Error> {
    let mut opened = 0;
    for due in store.due_campaigns(now.timestamp_millis()).await? {
        opened += usize::from(fire(store, with, now, &due).await?);
    }
    Ok(opened)
}

/// Checks the editions that were opened and lets those leave that passed; one that did not holds its campaign, which says why.
/// How many may leave now. Where several daemons share a database, each may check the same: the first to finish lets it leave.
///
/// # Errors
/// Where the database fails; what was not checked comes again.
pub async fn check_opened(store: &Store, sender: &Sender, clock: &Clock) -> Result<usize, Error> {
    let mut passed = 0;
    for edition in store.list_unchecked().await? {
        match check::edition(store, sender, &edition).await? {
            Ok(recipients) => {
                if store.pass_edition(clock.millis(), &edition, recipients).await? {
                    info!(campaign.name = edition.campaign, edition.id = edition.id, recipients, "edition checked");
                    passed += 1;
                }
            }
            Err(why) => {
                error!(
                    campaign.name = edition.campaign,
                    edition.id = edition.id,
                    "paused before its first mail: not everybody's can be made"
                );
                let why = format!("nothing was sent yet: {why}; after it is mended: svar campaign resume {}", edition.campaign);
                match store.pause_campaign(clock.millis(), &edition.campaign, Cause::Clock, Some(&why)).await {
                    Ok(()) | Err(Error::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(passed)
}

async fn fire(store: &Store, with: &Scheduler<'_>, now: DateTime<Utc>, due: &DueCampaign) -> Result<bool, Error> {
    let Ok(file) = CampaignFile::parse(&due.source) else {
        let why = "its campaign file is not understood by this version";
        store.pause_campaign(now.timestamp_millis(), &due.name, Cause::Clock, Some(why)).await?;
        return Ok(false);
    };
    let late = now.timestamp_millis() - due.at;
    if late > i64::try_from(with.grace.as_millis()).unwrap_or(i64::MAX) {
        miss(store, with, now, due, &file).await?;
        return Ok(false);
    }
    let planned = DateTime::from_timestamp_millis(due.at).unwrap_or(now);
    let next = next_after(&file, with.zone, planned);
    let snapshot = with.layout.snapshot(file.kind.as_str());
    let opened = store.open_edition(now.timestamp_millis(), due, &snapshot, with.key_id, next.as_ref()).await?;
    if let Opened::Now(deliveries) = opened {
        info!(campaign.name = due.name, edition.slot = due.slot, deliveries, "edition opened");
    }
    Ok(opened != Opened::Before)
}

fn next_after(file: &CampaignFile, zone: Tz, planned: DateTime<Utc>) -> Option<Occurrence> {
    file.send.recurs().then(|| file.send.next(zone, planned, planned)).flatten()
}

/// A campaign is never sent merely because its time has passed: a one-off is paused and asked about, a series skips (S-166).
async fn miss(store: &Store, with: &Scheduler<'_>, now: DateTime<Utc>, due: &DueCampaign, file: &CampaignFile) -> Result<(), Error> {
    warn!(campaign.name = due.name, edition.slot = due.slot, "its time passed while svar was not running; nothing was sent");
    if file.send.recurs() {
        return store.miss_occurrence(now.timestamp_millis(), due, next_after(file, with.zone, now).as_ref()).await;
    }
    let why = format!("its time {} passed while svar was not running; svar campaign resume {} sends it now", due.slot, due.name);
    store.pause_campaign(now.timestamp_millis(), &due.name, Cause::Clock, Some(&why)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::Address;
    use crate::model::contact::Person;
    use crate::model::throttle::Throttle;
    use crate::store::Limits;
    use crate::store::tests::stores;

    /// S-166: a pause is no reason to send what is weeks late. A one-off is sent, for that is what resuming it asks for.
    #[tokio::test]
    async fn a_series_that_is_resumed_skips_what_it_missed_and_a_one_off_is_sent() {
        let layout = Layout::own();
        let with = Scheduler { zone: Tz::UTC, layout: &layout, key_id: 1, grace: Duration::from_secs(3_600) };
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let (start, resumed) = (at("2026-10-20T09:00:00Z"), at("2026-11-24T10:00:00Z"));
        for (store, _dir) in stores().await {
            let eva = Person::new(Address::parse("eva@example.org").unwrap());
            store.import(start.timestamp_millis(), "alla", "people.csv", [eva].into_iter()).await.unwrap();
            for (name, send) in [("nytt", "0 9 1 * *"), ("fest", "2026-11-01 09:00")] {
                let source =
                    format!("---\nname: {name}\nkind: newsletter\nlist: alla\nsubject: Hej\nlanguage: sv\nsend: {send}\n---\nHej!\n");
                let file = CampaignFile::parse(&source).unwrap();
                store.add_campaign(start.timestamp_millis(), &file, &source).await.unwrap();
                store.start_campaign(start.timestamp_millis(), name, &file.send.next(Tz::UTC, start, start).unwrap()).await.unwrap();
                store.pause_campaign(start.timestamp_millis(), name, Cause::Operator, None).await.unwrap();
                store.resume_campaign(resumed.timestamp_millis(), name).await.unwrap();
            }
            assert_eq!(step(&store, &with, resumed).await.unwrap(), 1);
            let (nytt, fest) = (store.status("nytt").await.unwrap(), store.status("fest").await.unwrap());
            assert_eq!((nytt.queued, fest.queued), (0, 1));
            assert_eq!(nytt.next_at, Some(at("2026-12-01T09:00:00Z").timestamp_millis()));
        }
    }

    /// A field that one in the middle lacks holds the whole edition, not its second half; once mended, it leaves.
    #[tokio::test]
    async fn an_edition_that_one_contact_cannot_have_is_held_whole_and_says_why() {
        let layout = Layout::own();
        let with = Scheduler { zone: Tz::UTC, layout: &layout, key_id: 1, grace: Duration::from_secs(3_600) };
        let clock = Clock::system();
        let now = clock.now();
        let sender = Sender::monica();
        for (store, _dir) in stores().await {
            let person = |n: usize, company: &str| {
                let mut person = Person::new(Address::parse(&format!("p{n}@example.org")).unwrap());
                if !company.is_empty() {
                    person.attributes.insert("company".into(), company.into());
                }
                person
            };
            let people = (0..1_300).map(|n| person(n, if n == 700 { "" } else { "Firm" }));
            store.import(now.timestamp_millis(), "alla", "people.csv", people).await.unwrap();
            let source = "---\nname: fest\nkind: invitation\nlist: alla\nsubject: Hej\nlanguage: sv\nsend: now\n---\nHej {{company}}!\n";
            let file = CampaignFile::parse(source).unwrap();
            store.add_campaign(now.timestamp_millis(), &file, source).await.unwrap();
            store.start_campaign(now.timestamp_millis(), "fest", &file.send.next(Tz::UTC, now, now).unwrap()).await.unwrap();
            assert_eq!(step(&store, &with, now).await.unwrap(), 1);
            assert_eq!(check_opened(&store, &sender, &clock).await.unwrap(), 0);
            let status = store.status("fest").await.unwrap();
            assert_eq!((status.state.as_str(), status.queued), ("paused", 1_300));
            let why = status.paused_why.unwrap();
            assert!(why.contains("{{company}}: p700@example.org lacks it") && why.contains("svar campaign resume fest"), "{why}");

            store.import(now.timestamp_millis(), "alla", "people.csv", [person(700, "Firm")].into_iter()).await.unwrap();
            store.resume_campaign(now.timestamp_millis(), "fest").await.unwrap();
            let claim = async |store: &Store| {
                store
                    .claim_due(
                        clock.millis(),
                        10,
                        ("d1", clock.millis() + 60_000),
                        Limits { host: "relay", throttle: &Throttle::default(), now: clock.millis() },
                    )
                    .await
                    .unwrap()
                    .deliveries
            };
            assert!(claim(&store).await.is_empty());
            assert_eq!(check_opened(&store, &sender, &clock).await.unwrap(), 1);
            assert_eq!(claim(&store).await.len(), 10);
        }
    }
}
