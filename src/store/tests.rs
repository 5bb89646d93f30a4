//! Every statement on both databases. PostgreSQL is asked for by `SVAR_TEST_POSTGRES`, the URL of a server where
//! databases may be made; `scripts/test` gives one.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::model::address::Address;
use crate::model::answer::{Choice, Given, Meeting, Via};
use crate::model::campaign::CampaignFile;
use crate::model::contact::Person;
use crate::model::event::Cause;
use crate::model::inbound::{Intent, Kind, Source};
use crate::model::schedule::Occurrence;
use crate::model::standing::Standing;
use crate::model::suppression::Reason;

pub(super) const NOW: i64 = 1_795_500_000_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The stores that a test runs on, each new and empty: SQLite, and PostgreSQL where there is one.
pub(crate) async fn stores() -> Vec<(Store, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Store::open(dir.path().join("svar.db").to_str().unwrap()).await.unwrap();
    let mut stores = vec![(sqlite, Some(dir))];
    match std::env::var("SVAR_TEST_POSTGRES") {
        Ok(url) => stores.push((postgres(&url).await, None)),
        Err(_) if std::env::var("CI").is_ok() => panic!("SVAR_TEST_POSTGRES is not set: run the tests by scripts/test"),
        Err(_) => eprintln!("not run on PostgreSQL: SVAR_TEST_POSTGRES is not set; scripts/test sets it"),
    }
    stores
}

async fn postgres(url: &str) -> Store {
    let name = format!("svar_unit_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let admin = Db::open(url).await.unwrap();
    let mut conn = admin.read().await.unwrap();
    conn.execute(&format!("DROP DATABASE IF EXISTS {name}"), vec![]).await.unwrap();
    conn.execute(&format!("CREATE DATABASE {name}"), vec![]).await.unwrap();
    Store::open(&url.replacen("/postgres", &format!("/{name}"), 1)).await.unwrap()
}

fn person(address: &str, first_name: &str) -> Person {
    Person { first_name: first_name.into(), ..Person::new(Address::parse(address).unwrap()) }
}

fn people(n: usize) -> Vec<Person> {
    (0..n).map(|i| person(&format!("person{i}@example.org"), &format!("Person {i}"))).collect()
}

const SOURCE: &str =
    "---\nname: natverk\nkind: invitation\nlist: chefer\nsubject: Hej\nlanguage: sv\nsend: now\non_yes: join natverket\n---\nHej!\n";

fn occurrence(slot: &str, at: i64) -> Occurrence {
    Occurrence { slot: slot.into(), at: chrono::DateTime::from_timestamp_millis(at).unwrap() }
}

/// A campaign to `n` people whose edition is open.
pub(crate) async fn sending_to(store: &Store, n: usize) {
    store.import(NOW, "chefer", "people.csv", people(n).into_iter()).await.unwrap();
    sending(store, n).await;
}

/// A campaign to the `n` people who are on the list, whose edition is open.
pub(crate) async fn sending(store: &Store, n: usize) {
    let file = CampaignFile::parse(SOURCE).unwrap();
    assert!(store.add_campaign(NOW, &file, SOURCE).await.unwrap());
    store.start_campaign(NOW, "natverk", &occurrence("now", NOW)).await.unwrap();
    let due = store.due_campaigns(NOW).await.unwrap();
    assert_eq!(store.open_edition(NOW, &due[0], "{}", 1, None).await.unwrap(), Opened::Now(n as u64));
    assert!(store.claim_deliveries(NOW, 1, "d1", NOW + 60_000).await.unwrap().is_empty(), "nothing leaves before it is checked");
    pass_all(store).await;
}

/// The same to these addresses.
pub(super) async fn campaign_to(store: &Store, addresses: &[String]) {
    store.import(NOW, "chefer", "people.csv", addresses.iter().map(|address| person(address, "Eva"))).await.unwrap();
    sending(store, addresses.len()).await;
}

/// Sends up to `limit` of what is due.
pub(super) async fn send_some(store: &Store, limit: i64) -> Vec<Claimed> {
    let claimed = store.claim_deliveries(NOW, limit, "d1", NOW + 60_000).await.unwrap();
    let ends: Vec<Settled> = claimed.iter().map(|c| settled(c.id, Fate::Sent)).collect();
    store.settle_deliveries(NOW, "d1", &ends).await.unwrap();
    claimed
}

/// Lets the editions leave that are open.
async fn pass_all(store: &Store) {
    for edition in store.list_unchecked().await.unwrap() {
        assert!(store.pass_edition(NOW, &edition, 1).await.unwrap());
        assert!(!store.pass_edition(NOW, &edition, 1).await.unwrap(), "once");
    }
}

fn settled(id: i64, fate: Fate) -> Settled {
    Settled { id, fate, code: Some(250), reply: "2.0.0 queued as 1A".into(), hard: false, attempt: 1 }
}

/// The end of what was claimed as it stands here.
fn end_of(claimed: &Claimed, fate: Fate) -> Settled {
    Settled { attempt: claimed.attempts, ..settled(claimed.id, fate) }
}

/// Sends everything that is due.
pub(crate) async fn send_all(store: &Store) -> Vec<Claimed> {
    let claimed = store.claim_deliveries(NOW, 1000, "d1", NOW + 60_000).await.unwrap();
    let ends: Vec<Settled> = claimed.iter().map(|c| settled(c.id, Fate::Sent)).collect();
    store.settle_deliveries(NOW, "d1", &ends).await.unwrap();
    claimed
}

async fn incoming(store: &Store, hash: &str, read: Understanding, effect: Effect) -> i64 {
    let raw =
        Raw { source: Source::Stdin, envelope_from: Some("x@example.org"), recipient: "", content_hash: hash, bytes: b"raw".to_vec() };
    let stored = store.store_raw(NOW, &raw).await.unwrap();
    assert!(store.apply(NOW, stored.id, NOW, &read, &effect).await.unwrap());
    stored.id
}

/// A message of a kind about a known delivery, with its effect.
pub(super) async fn sent_by(store: &Store, hash: &str, kind: Kind, known: &Known, effect: Effect) {
    incoming(store, hash, Understanding { kind: Some(kind), ..reading_of(known, Intent::Other) }, effect).await;
}

fn reading_of(known: &Known, intent: Intent) -> Understanding {
    Understanding {
        kind: Some(Kind::Reply),
        intent: Some(intent),
        own_words: "Ja\0 gärna".into(),
        evidence: "[]".into(),
        delivery_id: Some(known.delivery_id),
        contact_id: Some(known.contact_id),
        campaign_id: Some(known.campaign_id),
        ..Understanding::default()
    }
}

#[tokio::test]
async fn a_second_import_changes_nothing_and_revives_nobody() {
    for (store, _dir) in stores().await {
        let first = store.import(NOW, "chefer", "a.csv", people(600).into_iter()).await.unwrap();
        assert_eq!(first, Imported { added: 600, joined: 600, ..Imported::default() });
        store.suppress(NOW, &Address::parse("PERSON1@example.org").unwrap(), Reason::Unsubscribed, "rang").await.unwrap();
        let second = store.import(NOW, "chefer", "a.csv", people(600).into_iter()).await.unwrap();
        assert_eq!(second, Imported { unchanged: 600, suppressed: 1, ..Imported::default() });
        assert_eq!(store.list_members("chefer", 0, 1000).await.unwrap().len(), 599);
        let third = store.import(NOW, "andra", "b.csv", [person("Person2@Example.org", "Ny")].into_iter()).await.unwrap();
        assert_eq!(third, Imported { updated: 1, joined: 1, ..Imported::default() });
        let contact = store.find_contact(&Address::parse("person2@EXAMPLE.org").unwrap()).await.unwrap().unwrap();
        assert_eq!((contact.person.first_name.as_str(), contact.person.address.as_str()), ("Ny", "person2@example.org"));
        assert_eq!(store.lists().await.unwrap(), [("andra".to_owned(), 1), ("chefer".to_owned(), 600)]);
        let history: Vec<_> = store.history(contact.id).await.unwrap().into_iter().map(|row| row.what).collect();
        assert_eq!(history, ["contact.added", "membership.joined", "contact.updated", "membership.joined"]);
    }
}

/// S-165: the unique key decides, not a check before.
#[tokio::test]
async fn an_edition_opens_once_and_leaves_suppressed_people_out() {
    for (store, _dir) in stores().await {
        store.suppress(NOW, &Address::parse("person3@example.org").unwrap(), Reason::Complaint, "").await.unwrap();
        store.import(NOW, "chefer", "a.csv", people(5).into_iter()).await.unwrap();
        store.add_campaign(NOW, &CampaignFile::parse(SOURCE).unwrap(), SOURCE).await.unwrap();
        store.start_campaign(NOW, "natverk", &occurrence("now", NOW)).await.unwrap();
        assert!(store.start_campaign(NOW, "natverk", &occurrence("now", NOW)).await.is_err());
        let due = store.due_campaigns(NOW).await.unwrap().remove(0);
        let (a, b) = tokio::join!(store.open_edition(NOW, &due, "{}", 1, None), store.open_edition(NOW, &due, "{}", 1, None));
        let mut outcomes = [a.unwrap(), b.unwrap()];
        outcomes.sort_by_key(|o| *o == Opened::Before);
        assert_eq!(outcomes, [Opened::Now(4), Opened::Before]);
        assert!(store.due_campaigns(NOW + 1_000_000).await.unwrap().is_empty());
        assert_eq!(store.status("natverk").await.unwrap().queued, 4);
    }
}

/// S-242: each row is claimed by one holder, and only the holder settles it.
#[tokio::test]
async fn claims_do_not_collide_and_a_lost_lease_settles_nothing() {
    for (store, _dir) in stores().await {
        sending_to(&store, 300).await;
        let mut tasks = tokio::task::JoinSet::new();
        for holder in 0..6 {
            let store = store.clone();
            tasks.spawn(async move {
                let mut ids = Vec::new();
                loop {
                    let claimed = store.claim_deliveries(NOW, 7, &format!("d{holder}"), NOW + 60_000).await.unwrap();
                    assert!(claimed.len() <= 7);
                    if claimed.is_empty() {
                        return ids;
                    }
                    ids.extend(claimed.into_iter().map(|c| c.id));
                }
            });
        }
        let mut all: Vec<i64> = tasks.join_all().await.concat();
        all.sort_unstable();
        assert_eq!(all.len(), 300);
        all.dedup();
        assert_eq!(all.len(), 300);
        assert!(store.settle_deliveries(NOW, "stranger", &[settled(all[0], Fate::Sent)]).await.unwrap().is_empty());
        assert_eq!(store.status("natverk").await.unwrap().sending, 300);
    }
}

/// S-74: what a dead daemon held is uncertain, and repeated only with a line in its history.
#[tokio::test]
async fn a_lapsed_lease_is_uncertain_and_its_repetition_is_told() {
    for (store, _dir) in stores().await {
        sending_to(&store, 3).await;
        let first = store.claim_deliveries(NOW, 10, "dead", NOW + 60_000).await.unwrap();
        let held: Vec<_> = first.iter().map(|c| (false, c.id)).collect();
        assert_eq!(store.renew_leases("dead", NOW + 60_000, &held[1..]).await.unwrap(), 2);
        assert_eq!(store.renew_leases("stranger", NOW + 60_000, &held).await.unwrap(), 0);
        assert_eq!(store.lapse_leases(NOW + 60_001, "d2").await.unwrap(), 3);
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.uncertain, status.queued), (3, 0));
        for fate in [Fate::Sent, Fate::Untouched(NOW), Fate::Again(NOW)] {
            assert!(store.settle_deliveries(NOW, "dead", &[settled(first[0].id, fate)]).await.unwrap().is_empty());
        }
        assert_eq!(store.repeat_uncertain(NOW + 60_001, 600_000, 10).await.unwrap(), 3);
        let again = store.claim_deliveries(NOW + 60_001, 10, "d2", NOW + 120_000).await.unwrap();
        assert_eq!((again[0].id, again[0].composed_at, again[0].repeats, again[0].attempts), (first[0].id, first[0].composed_at, 1, 2));
        let what: Vec<_> = store.history(again[0].contact.id).await.unwrap().into_iter().map(|row| row.what).collect();
        // A second time it waits first.
        assert_eq!(store.lapse_leases(NOW + 120_001, "d3").await.unwrap(), 3);
        assert_eq!(store.repeat_uncertain(NOW + 120_001, 600_000, 10).await.unwrap(), 0);
        assert_eq!(store.repeat_uncertain(NOW + 720_001, 600_000, 2).await.unwrap(), 2);
        assert!(what.contains(&"delivery.uncertain".to_owned()) && what.contains(&"delivery.repeated".to_owned()), "{what:?}");
    }
}

/// S-242: a daemon that stood still, lost what it held and claimed it anew does not end the new claim with the old one.
#[tokio::test]
async fn a_claim_is_not_ended_by_an_older_one_of_the_same_daemon() {
    for (store, _dir) in stores().await {
        sending_to(&store, 2).await;
        let old = store.claim_deliveries(NOW, 10, "d1", NOW + 60_000).await.unwrap();
        store.lapse_leases(NOW + 60_001, "d2").await.unwrap();
        store.repeat_uncertain(NOW + 60_001, 600_000, 10).await.unwrap();
        let new = store.claim_deliveries(NOW + 60_001, 10, "d1", NOW + 120_000).await.unwrap();
        let late = [Fate::Sent, Fate::Untouched(NOW)].map(|fate| end_of(&old[0], fate));
        assert!(store.settle_deliveries(NOW + 60_002, "d1", &late).await.unwrap().is_empty());
        // in one group
        let hard = Settled { hard: true, ..end_of(&old[1], Fate::Failed) };
        let ends = [end_of(&old[0], Fate::Untouched(NOW)), end_of(&new[0], Fate::Sent), end_of(&new[1], Fate::Sent), hard];
        assert_eq!(store.settle_deliveries(NOW + 60_002, "d1", &ends).await.unwrap().len(), 2);
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.sent, status.queued, status.suppressed), (2, 0, 0));
        assert!(store.stops_of_deliveries(&[old[1].id]).await.unwrap()[0].is_none(), "the old end suppressed somebody");
    }
}

/// S-242: hosts whose clocks differ agree on when a lease ends.
#[tokio::test]
async fn leases_go_by_one_clock() {
    for (store, _dir) in stores().await {
        let told = store.lease_clock(7).await.unwrap();
        assert_eq!(told == 7, store.file().is_some(), "{told}");
        assert!(told == 7 || told > 1_700_000_000_000, "{told}");
    }
}

#[tokio::test]
async fn what_was_not_attempted_waits_again_and_does_not_count() {
    for (store, _dir) in stores().await {
        sending_to(&store, 2).await;
        let claimed = store.claim_deliveries(NOW, 10, "d1", NOW + 60_000).await.unwrap();
        let ends = [settled(claimed[0].id, Fate::Untouched(NOW + 5)), settled(claimed[1].id, Fate::Again(NOW + 600_000))];
        assert_eq!(store.settle_deliveries(NOW, "d1", &ends).await.unwrap().len(), 2);
        let again = store.claim_deliveries(NOW + 5, 10, "d1", NOW + 60_000).await.unwrap();
        assert_eq!((again.len(), again[0].attempts, again[0].first_attempt_at), (1, 1, None));
        let later = store.claim_deliveries(NOW + 600_000, 10, "d1", NOW + 660_000).await.unwrap();
        assert_eq!((later.len(), later[0].attempts, later[0].first_attempt_at), (1, 2, Some(NOW)));
        store.settle_deliveries(NOW + 600_000, "d1", &[end_of(&later[0], Fate::Again(NOW + 700_000))]).await.unwrap();
        let last = store.claim_deliveries(NOW + 700_000, 10, "d1", NOW + 760_000).await.unwrap();
        assert_eq!(last[0].first_attempt_at, Some(NOW));
    }
}

/// S-53, S-139.
#[tokio::test]
async fn a_stop_is_seen_before_the_next_mail_and_a_hard_refusal_suppresses() {
    for (store, _dir) in stores().await {
        sending_to(&store, 3).await;
        let claimed = store.claim_deliveries(NOW, 2, "d1", NOW + 60_000).await.unwrap();
        let ids = [claimed[1].id, claimed[0].id];
        assert_eq!(store.stops_of_deliveries(&ids).await.unwrap(), [None, None]);
        store.suppress(NOW, &claimed[0].contact.person.address, Reason::Unsubscribed, "").await.unwrap();
        assert_eq!(store.stops_of_deliveries(&ids).await.unwrap(), [None, Some(Stop::Suppressed)]);
        store.pause_campaign(NOW, "natverk", Cause::Operator, None).await.unwrap();
        assert_eq!(store.stops_of_deliveries(&ids).await.unwrap(), [Some(Stop::Paused), Some(Stop::Suppressed)]);
        assert!(store.claim_deliveries(NOW, 10, "d1", NOW + 60_000).await.unwrap().is_empty());
        store.resume_campaign(NOW, "natverk").await.unwrap();
        let ends = [
            settled(claimed[0].id, Fate::Stopped(Stop::Suppressed)),
            Settled { code: Some(550), reply: "5.1.1 no such user".into(), hard: true, ..settled(claimed[1].id, Fate::Failed) },
        ];
        store.settle_deliveries(NOW, "d1", &ends).await.unwrap();
        assert_eq!(store.suppression_of(&claimed[1].contact.person.address).await.unwrap().unwrap().0, Reason::HardBounce);
        assert_eq!(store.cancel_campaign(NOW, "natverk").await.unwrap(), 1);
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.suppressed, status.failed, status.cancelled, status.unsubscribed), (1, 1, 1, 1));
    }
}

/// S-213.
#[tokio::test]
async fn the_same_message_twice_changes_nothing() {
    for (store, _dir) in stores().await {
        let raw =
            Raw { source: Source::Listener, envelope_from: None, recipient: "svar+x@example.org", content_hash: "h", bytes: vec![0, 255] };
        let first = store.store_raw(NOW, &raw).await.unwrap();
        let second = store.store_raw(NOW + 1, &raw).await.unwrap();
        assert_eq!((first.is_new, second.is_new, first.id), (true, false, second.id));
        let other = store.store_raw(NOW, &Raw { recipient: "svar+y@example.org", ..raw.clone() }).await.unwrap();
        assert!(other.is_new);
        assert_eq!(store.list_stored(10).await.unwrap().len(), 2);
        assert_eq!(store.raw_of(first.id).await.unwrap(), [0, 255]);
        let read = Understanding { evidence: "[]".into(), ..Understanding::default() };
        assert!(store.apply(NOW, first.id, NOW, &read, &Effect::File).await.unwrap());
        assert!(!store.apply(NOW, first.id, NOW, &read, &Effect::File).await.unwrap());
        assert!(store.raw_of(999_999).await.is_err());
    }
}

#[tokio::test]
async fn a_second_answer_replaces_the_first_and_a_yes_joins_the_list() {
    for (store, _dir) in stores().await {
        sending_to(&store, 2).await;
        let claimed = send_all(&store).await;
        let known = store.find_known(claimed[0].id).await.unwrap().unwrap();
        assert_eq!(store.open_questions(&claimed[0].contact.person.address).await.unwrap().len(), 1);
        let yes = Effect::Answer { choice: Choice::Yes, guests: Some(1), via: Via::Mail };
        incoming(&store, "1", reading_of(&known, Intent::Yes), yes.clone()).await;
        assert!(store.open_questions(&claimed[0].contact.person.address).await.unwrap().is_empty());
        assert_eq!(store.lists().await.unwrap(), [("chefer".to_owned(), 2), ("natverket".to_owned(), 1)]);
        let no = Given { choice: Choice::No, guests: None, comment: "rang".into(), via: Via::Phone, given_at: NOW + 5 };
        assert_eq!(store.respond(NOW + 5, known.contact_id, "natverk", &no).await.unwrap(), Meeting::Stands);
        incoming(&store, "2", reading_of(&known, Intent::Yes), yes).await;
        let answers = store.list_answers("natverk").await.unwrap();
        assert_eq!((answers.len(), answers[0].answer.as_str(), answers[0].via.as_str()), (1, "no", "phone"));
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.answers.yes, status.answers.no, status.guests, status.silent, status.contacts), (0, 1, 0, 1, 2));
    }
}

#[tokio::test]
async fn a_person_decides_what_waits_and_the_writer_is_told_once() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let claimed = send_all(&store).await;
        let known = store.find_known(claimed[0].id).await.unwrap().unwrap();
        let id = incoming(&store, "1", reading_of(&known, Intent::Other), Effect::Review).await;
        assert_eq!(store.list_review(10).await.unwrap()[0].id, id);
        assert_eq!((store.status("natverk").await.unwrap().review, store.status("natverk").await.unwrap().silent), (1, 0));
        let untold = store.list_untold(10).await.unwrap().remove(0);
        assert_eq!((untold.state.as_str(), untold.campaign.as_deref()), ("review", Some("natverk")));
        assert_eq!(store.tell(NOW, &untold, &[]).await.unwrap(), 0);
        store.decide(NOW, id, Decision::Answer(Choice::Yes, Some(2)), None, None).await.unwrap();
        let untold = store.list_untold(10).await.unwrap().remove(0);
        let notice = NewNotice {
            about: "confirmation",
            recipient: "person0@example.org".into(),
            contact_id: Some(known.contact_id),
            says: "natverk:yes:2".into(),
            subject: "Sv: Hej".into(),
            body: "Tack".into(),
            in_reply_to: "a@b".into(),
            references: String::new(),
            key_id: 1,
            reply_to: "svar+x@example.org".into(),
        };
        assert_eq!(store.tell(NOW, &untold, std::slice::from_ref(&notice)).await.unwrap(), 1);
        assert_eq!(store.tell(NOW, &untold, std::slice::from_ref(&notice)).await.unwrap(), 0);
        let claimed = store.claim_notices(NOW, 10, "d1", NOW + 60_000).await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!(store.stop_of_notice(claimed[0].id).await.unwrap(), None);
        assert_eq!(store.settle_notices(NOW, "d1", &[settled(claimed[0].id, Fate::Sent)]).await.unwrap(), [claimed[0].id]);
        assert_eq!(store.count_open().await.unwrap(), (0, 0, 0));
        assert_eq!(store.recent(5).await.unwrap()[0].intent.as_deref(), Some("yes"));
        assert_eq!(store.count_stray_reviews().await.unwrap(), 0);
        // Decided again: there is one confirmation for a message, and no line of a second.
        store.decide(NOW, id, Decision::Answer(Choice::No, None), None, None).await.unwrap();
        let again = store.list_untold(10).await.unwrap().remove(0);
        let other = NewNotice { says: "natverk:no:0".into(), ..notice };
        assert_eq!(store.tell(NOW, &again, &[other]).await.unwrap(), 0);
        let history = store.history(known.contact_id).await.unwrap();
        assert_eq!(history.iter().filter(|row| row.what == "notice.queued").count(), 1);
    }
}

/// What a person decides of an old message does not undo what its writer said since, and nobody is told that it did.
#[tokio::test]
async fn a_decision_on_an_old_message_is_refused_where_a_later_answer_stands() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let claimed = send_all(&store).await;
        let known = store.find_known(claimed[0].id).await.unwrap().unwrap();
        let unclear = incoming(&store, "1", reading_of(&known, Intent::Other), Effect::Review).await;
        let yes = Given { choice: Choice::Yes, guests: Some(1), comment: String::new(), via: Via::Phone, given_at: NOW + 5 };
        store.respond(NOW + 5, known.contact_id, "natverk", &yes).await.unwrap();
        let refused = store.decide(NOW + 9, unclear, Decision::Answer(Choice::No, None), None, None).await.unwrap_err();
        assert!(refused.to_string().contains("older than the answer on record"), "{refused}");
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.answers.yes, status.answers.no, status.review), (1, 0, 1));
        let history = store.history(known.contact_id).await.unwrap();
        assert!(history.iter().all(|row| row.what != "inbound.decided"));
        store.decide(NOW + 9, unclear, Decision::Nothing, None, None).await.unwrap();
        // an answer that comes late is stored, and what stands is told beside it
        incoming(&store, "2", reading_of(&known, Intent::No), Effect::Answer { choice: Choice::No, guests: None, via: Via::Mail }).await;
        let untold = store.list_untold(10).await.unwrap().remove(0);
        assert_eq!((untold.intent.as_deref(), untold.recorded.as_deref(), untold.recorded_guests), (Some("no"), Some("yes"), Some(1)));
    }
}

/// S-139, S-247: a person lifts what a person or a report did, and never a complaint.
#[tokio::test]
async fn a_suppression_is_lifted_with_a_reason_but_not_a_complaint() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let claimed = send_all(&store).await;
        let (id, address) = (claimed[0].contact.id, claimed[0].contact.person.address.clone());
        assert_eq!(store.allow(NOW, &address, "").await.unwrap(), None);
        store.suppress(NOW, &address, Reason::Unsubscribed, "").await.unwrap();
        let known = store.find_known(claimed[0].id).await.unwrap().unwrap();
        assert_eq!(known.suppressed.as_deref(), Some("unsubscribed"));
        let waiting = incoming(&store, "1", reading_of(&known, Intent::Yes), Effect::Review).await;
        let yes = Decision::Answer(Choice::Yes, None);
        assert_eq!(store.decide(NOW, waiting, yes, None, None).await.unwrap(), Some(address.to_string()));
        assert_eq!(store.allow(NOW, &address, "asked to be back").await.unwrap(), Some(Reason::Unsubscribed));
        assert_eq!(store.suppression_of(&address).await.unwrap(), None);
        assert_eq!(store.decide(NOW, waiting, yes, None, None).await.unwrap(), None);
        let history = store.history(id).await.unwrap();
        assert!(history.iter().any(|row| row.what == "contact.allowed" && row.detail()["note"] == "asked to be back"));
        store.suppress(NOW, &address, Reason::Complaint, "").await.unwrap();
        assert!(matches!(store.allow(NOW, &address, "please").await, Err(Error::Refused(_))));
        assert_eq!(store.suppression_of(&address).await.unwrap().unwrap().0, Reason::Complaint);
    }
}

/// The people of a standing are as many as its count says.
#[tokio::test]
async fn the_people_of_a_campaign_are_those_that_its_status_counts() {
    for (store, _dir) in stores().await {
        sending_to(&store, 7).await;
        let claimed = store.claim_deliveries(NOW, 6, "d1", NOW + 60_000).await.unwrap();
        let bad = Settled { code: Some(554), reply: "5.7.1 no".into(), ..settled(claimed[5].id, Fate::Failed) };
        let ends: Vec<Settled> = claimed[..5].iter().map(|c| settled(c.id, Fate::Sent)).chain([bad]).collect();
        store.settle_deliveries(NOW, "d1", &ends).await.unwrap();
        let known = |n: usize| store.find_known(claimed[n].id);
        let yes = Effect::Answer { choice: Choice::Yes, guests: Some(1), via: Via::Mail };
        incoming(&store, "0", reading_of(&known(0).await.unwrap().unwrap(), Intent::Yes), yes).await;
        incoming(&store, "1", reading_of(&known(1).await.unwrap().unwrap(), Intent::Other), Effect::Review).await;
        let stop = Effect::Suppress(Reason::Unsubscribed);
        incoming(&store, "2", reading_of(&known(2).await.unwrap().unwrap(), Intent::Unsubscribe), stop).await;
        let status = store.status("natverk").await.unwrap();
        for (standing, count) in [
            (Standing::Yes, status.answers.yes),
            (Standing::No, status.answers.no),
            (Standing::Silent, status.silent),
            (Standing::Unsubscribed, status.unsubscribed),
            (Standing::ToDecide, status.review),
            (Standing::Waiting, status.queued),
            (Standing::Sent, status.sent),
            (Standing::Failed, status.failed),
        ] {
            assert_eq!(store.list_standing("natverk", Some(standing)).await.unwrap().len() as i64, count, "{standing}");
        }
        assert_eq!((status.silent, status.failed, status.queued), (2, 1, 1));
        let failed = store.list_standing("natverk", Some(Standing::Failed)).await.unwrap().remove(0);
        assert_eq!((failed.code, failed.reply.as_deref()), (Some(554), Some("5.7.1 no")));
        assert_eq!(store.list_standing("natverk", None).await.unwrap().len(), 7);
    }
}

#[tokio::test]
async fn a_newsletter_has_no_answers_whichever_way_they_come() {
    for (store, _dir) in stores().await {
        store.import(NOW, "chefer", "people.csv", people(1).into_iter()).await.unwrap();
        let source = SOURCE.replace("kind: invitation", "kind: newsletter").replace("on_yes: join natverket\n", "");
        store.add_campaign(NOW, &CampaignFile::parse(&source).unwrap(), &source).await.unwrap();
        store.start_campaign(NOW, "natverk", &occurrence("now", NOW)).await.unwrap();
        let due = store.due_campaigns(NOW).await.unwrap();
        store.open_edition(NOW, &due[0], "{}", 1, None).await.unwrap();
        pass_all(&store).await;
        let claimed = send_all(&store).await;
        let known = store.find_known(claimed[0].id).await.unwrap().unwrap();
        let waiting = incoming(&store, "1", reading_of(&known, Intent::Yes), Effect::Review).await;
        let refused = store.decide(NOW, waiting, Decision::Answer(Choice::Yes, None), None, None).await.unwrap_err();
        assert!(refused.to_string().contains("it asks nothing"), "{refused}");
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.answers.yes, status.silent, status.review), (0, 0, 1));
    }
}

#[tokio::test]
async fn what_was_taken_from_a_maildir_is_remembered_by_folder_and_name() {
    for (store, _dir) in stores().await {
        let names: Vec<String> = (0..600).map(|n| format!("{n}.a.h")).collect();
        store.remember_taken(NOW, "/mail", &names, &[]).await.unwrap();
        store.remember_taken(NOW, "/mail", &names[..2], &names[10..]).await.unwrap();
        store.remember_taken(NOW, "/other", &names[..1], &names[..1]).await.unwrap();
        let mut taken = store.list_taken("/mail").await.unwrap();
        taken.sort();
        assert_eq!((taken, store.list_taken("/other").await.unwrap().len()), (names[..10].to_vec(), 1));
    }
}

#[tokio::test]
async fn a_report_ends_the_delivery_and_only_a_hard_one_suppresses() {
    for (store, _dir) in stores().await {
        sending_to(&store, 2).await;
        let claimed = send_all(&store).await;
        for (n, hard) in [(0, false), (1, true)] {
            let known = store.find_known(claimed[n].id).await.unwrap().unwrap();
            let read = Understanding { kind: Some(Kind::Bounce), ..reading_of(&known, Intent::AutoReply) };
            incoming(&store, &n.to_string(), read, Effect::Bounce { hard, words: "5.1.1 gone".into() }).await;
            assert_eq!(store.suppression_of(&claimed[n].contact.person.address).await.unwrap().is_some(), hard);
        }
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.sent, status.failed, status.silent), (0, 2, 0));
    }
}

#[tokio::test]
async fn a_draft_may_be_replaced_and_what_was_sent_may_not() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let other = SOURCE.replace("Hej!", "Hej igen!");
        let error = store.add_campaign(NOW, &CampaignFile::parse(&other).unwrap(), &other).await.unwrap_err();
        assert!(error.to_string().contains("has been started"), "{error}");
        assert!(!store.add_campaign(NOW, &CampaignFile::parse(SOURCE).unwrap(), SOURCE).await.unwrap());
        let draft = SOURCE.replace("natverk\n", "utkast\n");
        assert!(store.add_campaign(NOW, &CampaignFile::parse(&draft).unwrap(), &draft).await.unwrap());
        let changed = draft.replace("Hej!", "Nytt!");
        assert!(store.add_campaign(NOW, &CampaignFile::parse(&changed).unwrap(), &changed).await.unwrap());
        assert_eq!(store.list_campaigns().await.unwrap().len(), 2);
        assert!(store.get_campaign("ingen").await.unwrap_err().to_string().contains("svar campaign list"));
        store.cancel_campaign(NOW, "utkast").await.unwrap();
        assert!(store.cancel_campaign(NOW, "utkast").await.unwrap_err().to_string().ends_with("cannot be cancelled again"));
        assert!(store.add_campaign(NOW, &CampaignFile::parse(&changed).unwrap(), &changed).await.unwrap(), "its name is free");
        let active = store.resume_campaign(NOW, "natverk").await.unwrap_err().to_string();
        assert_eq!(active, "campaign \"natverk\" is active and cannot be resumed; only a paused one can");
        store.start_campaign(NOW, "utkast", &occurrence("2026-12-01T09:00", NOW + 5)).await.unwrap();
        let due = store.due_campaigns(NOW + 5).await.unwrap().remove(0);
        store.miss_occurrence(NOW + 5, &due, None).await.unwrap();
        assert!(store.due_campaigns(NOW + 5).await.unwrap().is_empty());
    }
}

/// S-74: a person decides about what is uncertain or failed; a suppressed person is left alone, and each has a line of it.
#[tokio::test]
async fn a_person_decides_about_what_failed_and_what_is_uncertain() {
    for (store, _dir) in stores().await {
        sending_to(&store, 5).await;
        let claimed = store.claim_deliveries(NOW, 10, "d1", NOW + 60_000).await.unwrap();
        let fates = [Fate::Failed, Fate::Failed, Fate::Uncertain, Fate::Uncertain, Fate::Again(NOW + 1)];
        let mut ends: Vec<Settled> = claimed.iter().zip(fates).map(|(c, fate)| settled(c.id, fate)).collect();
        ends[1].hard = true;
        store.settle_deliveries(NOW, "d1", &ends).await.unwrap();
        assert_eq!(store.retry_failed(NOW + 5, "natverk").await.unwrap(), 1);
        assert_eq!(store.retry_failed(NOW + 5, "natverk").await.unwrap(), 0);
        assert_eq!(store.settle_uncertain(NOW + 5, "natverk", false).await.unwrap(), 2);
        let again = store.claim_deliveries(NOW + 5, 10, "d1", NOW + 60_000).await.unwrap();
        let retried = again.iter().find(|c| c.id == claimed[0].id).unwrap();
        assert_eq!((again.len(), retried.attempts, retried.first_attempt_at), (2, 1, None));
        store.settle_deliveries(NOW + 5, "d1", &again.iter().map(|c| end_of(c, Fate::Uncertain)).collect::<Vec<_>>()).await.unwrap();
        assert_eq!(store.settle_uncertain(NOW + 5, "natverk", true).await.unwrap(), 2);
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.queued, status.sent, status.failed, status.uncertain), (2, 2, 1, 0));
        for (n, line) in [(0, "delivery.retried"), (0, "delivery.repeated"), (2, "delivery.sent")] {
            let history = store.history(claimed[n].contact.id).await.unwrap();
            assert!(history.iter().any(|row| row.what == line && row.cause == "operator"), "{line}: {history:?}");
        }
        store.cancel_campaign(NOW + 6, "natverk").await.unwrap();
        assert!(store.retry_failed(NOW + 7, "natverk").await.is_err());
    }
}

/// What was under way when its campaign was cancelled says so in its history too.
#[tokio::test]
async fn what_comes_back_to_a_cancelled_campaign_is_cancelled_with_a_line() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let claimed = store.claim_deliveries(NOW, 1, "d1", NOW + 60_000).await.unwrap();
        assert_eq!(store.cancel_campaign(NOW, "natverk").await.unwrap(), 0);
        store.settle_deliveries(NOW, "d1", &[settled(claimed[0].id, Fate::Untouched(NOW))]).await.unwrap();
        assert_eq!(store.status("natverk").await.unwrap().cancelled, 1);
        let history = store.history(claimed[0].contact.id).await.unwrap();
        assert_eq!(history.last().unwrap().what, "delivery.cancelled");
    }
}

#[tokio::test]
async fn a_relay_that_was_paused_stays_so_until_it_is_resumed() {
    for (store, _dir) in stores().await {
        store.ping().await.unwrap();
        assert!(store.pause_relay(NOW, "smtp.example.org", "535 no").await.unwrap());
        assert!(!store.pause_relay(NOW, "smtp.example.org", "535 no").await.unwrap());
        assert_eq!(store.paused_relays().await.unwrap()[0].why, "535 no");
        assert!(store.resume_relay(NOW, "smtp.example.org").await.unwrap());
        assert!(!store.resume_relay(NOW, "smtp.example.org").await.unwrap());
        store.close().await;
    }
}

pub(crate) async fn wished(store: &Store, hash: &str, now: i64, who: &Person) -> i64 {
    let raw = Raw { source: Source::Stdin, envelope_from: None, recipient: "", content_hash: hash, bytes: b"raw".to_vec() };
    let stored = store.store_raw(now, &raw).await.unwrap();
    let own_words = format!("Jag vill vara med, {hash}");
    let read = Understanding { own_words, intent: Some(Intent::Yes), guests: Some(2), evidence: "[]".into(), ..Understanding::default() };
    assert!(store.apply(now, stored.id, now, &read, &Effect::Ask(who.clone())).await.unwrap());
    assert!(!store.apply(now, stored.id, now, &read, &Effect::Ask(who.clone())).await.unwrap());
    stored.id
}

fn question(says: &str) -> NewNotice {
    NewNotice {
        about: "wish",
        recipient: "eva@example.net".into(),
        contact_id: None,
        says: says.into(),
        subject: "Vill du?".into(),
        body: "Svara JA".into(),
        in_reply_to: String::new(),
        references: String::new(),
        key_id: 1,
        reply_to: "svar+x@example.org".into(),
    }
}

async fn confirmed(store: &Store, hash: &str, wish: &Wish, who: &Person, guests: Option<u32>) -> i64 {
    let read = Understanding {
        own_words: "JA".into(),
        intent: Some(Intent::Yes),
        evidence: "[]".into(),
        campaign_id: Some(wish.campaign_id),
        wish_id: Some(wish.id),
        ..Understanding::default()
    };
    incoming(store, hash, read, Effect::Confirm { who: who.clone(), guests }).await
}

async fn reason_of(store: &Store, id: i64) -> Option<String> {
    store.list_review(100).await.unwrap().into_iter().find(|row| row.id == id).and_then(|row| row.why)
}

/// S-180, S-188, S-213: the confirmation makes contact and answer, joins only what a yes leads to, keeps the proof, and leaves nothing waiting.
#[tokio::test]
async fn a_wish_counts_once_it_is_confirmed() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let eva = Person { language: "sv".into(), ..person("Eva@example.net", "Eva") };
        let week = crate::model::wish::ONCE_IN_MS;
        let first = wished(&store, "1", NOW, &eva).await;
        let again = wished(&store, "2", NOW + week, &eva).await;
        for id in [first, again] {
            assert_eq!(reason_of(&store, id).await.as_deref(), Some(crate::model::wish::ASKED));
        }
        assert_eq!((store.status("natverk").await.unwrap().review, store.find_contact(&eva.address).await.unwrap()), (2, None));
        let wish = store.find_wish(again).await.unwrap().unwrap();
        assert_eq!(
            (wish.address.as_str(), wish.state.as_str(), wish.contact_id, wish.question.as_ref()),
            ("Eva@example.net", "review", None, None)
        );
        for hash in ["3", "4"] {
            confirmed(&store, hash, &wish, &eva, None).await;
        }
        let status = store.status("natverk").await.unwrap();
        assert_eq!((status.answers.yes, status.guests, status.review), (1, 0, 0));
        assert_eq!(store.list_answers("natverk").await.unwrap()[0].comment, "JA\n\n[first mail] Jag vill vara med, 2");
        assert_eq!(store.lists().await.unwrap(), [("chefer".to_owned(), 1), ("natverket".to_owned(), 1)]);
        let contact = store.find_contact(&eva.address).await.unwrap().unwrap();
        let history = store.history(contact.id).await.unwrap();
        let count = |what: &str| history.iter().filter(|row| row.what == what).count();
        assert_eq!((count("contact.added"), count("wish.confirmed"), count("answer.registered"), count("answer.repeated")), (1, 1, 1, 1));
        assert_eq!((count("membership.joined"), store.list_decided(0, 10).await.unwrap().len()), (1, 0));
        let proof = history.iter().find(|row| row.what == "wish.confirmed").unwrap().detail();
        assert_eq!(
            (&proof["written"], &proof["confirmed"], &proof["settles"]),
            (&"Jag vill vara med, 2".into(), &"JA".into(), &serde_json::json!([first, again]))
        );
        let wish = store.find_wish(again).await.unwrap().unwrap();
        assert_eq!((wish.state.as_str(), wish.contact_id, wish.confirmed_at), ("applied", Some(contact.id), Some(NOW)));
    }
}

/// S-188: the number of guests that a yes confirms is that of the confirmation, else one that the question named.
#[tokio::test]
async fn only_guests_who_were_asked_about_are_confirmed() {
    for (says, said, guests) in [("1:wish:2", None, 2), ("1:wish:0", None, 0), ("1:wish", None, 0), ("1:wish:2", Some(1), 1)] {
        for (store, _dir) in stores().await {
            sending_to(&store, 1).await;
            let eva = person("eva@example.net", "Eva");
            let id = wished(&store, "1", NOW, &eva).await;
            let untold = store.list_untold(10).await.unwrap().remove(0);
            assert_eq!(untold.campaign_source.as_deref(), Some(SOURCE));
            store.tell(NOW, &untold, &[question(says)]).await.unwrap();
            let wish = store.find_wish(id).await.unwrap().unwrap();
            confirmed(&store, "2", &wish, &eva, said).await;
            assert_eq!(store.status("natverk").await.unwrap().guests, guests, "{says} {said:?}");
        }
    }
}

/// A person who decides about a wish while its confirmation is being read is right.
#[tokio::test]
async fn a_person_decides_about_a_wish_before_its_confirmation() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let eva = person("eva@example.net", "Eva");
        let id = wished(&store, "1", NOW, &eva).await;
        let wish = store.find_wish(id).await.unwrap().unwrap();
        store.decide(NOW, id, Decision::Nothing, None, None).await.unwrap();
        let confirmation = confirmed(&store, "2", &wish, &eva, None).await;
        assert_eq!(reason_of(&store, confirmation).await.as_deref(), Some(crate::model::wish::DECIDED));
        assert_eq!((store.status("natverk").await.unwrap().answers.yes, store.find_contact(&eva.address).await.unwrap()), (0, None));
    }
}

/// What waits for its writer is not a person's to be done with in one stroke.
#[tokio::test]
async fn strangers_who_were_asked_are_not_dismissed_while_they_may_confirm() {
    use crate::model::wish::OPEN_FOR_MS;
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let asked = wished(&store, "1", NOW, &person("eva@example.net", "")).await;
        let reply = Understanding { evidence: "[]".into(), wish_id: Some(asked), ..Understanding::default() };
        incoming(&store, "2", reply, Effect::Review).await;
        incoming(&store, "3", Understanding { evidence: "[]".into(), ..Understanding::default() }, Effect::Review).await;
        assert_eq!(store.dismiss_strangers(NOW + OPEN_FOR_MS).await.unwrap(), 1);
        assert_eq!(store.dismiss_strangers(NOW + OPEN_FOR_MS + 1).await.unwrap(), 2);
    }
}

/// S-127, S-231: one question in seven days to a mailbox, however its address is spelled, and twenty an hour to all.
#[tokio::test]
async fn nobody_is_asked_too_often() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let first = wished(&store, "1", NOW, &person("eva@example.net", "")).await;
        let second = wished(&store, "2", NOW + 1, &person("EVA@Example.net", "")).await;
        let tagged = wished(&store, "3", NOW + crate::model::wish::ONCE_IN_MS - 1, &person("Eva+dinner@example.net", "")).await;
        assert!(store.find_wish(first).await.unwrap().is_some());
        for id in [second, tagged] {
            assert!(store.find_wish(id).await.unwrap().is_none());
            assert!(reason_of(&store, id).await.unwrap().ends_with("within the last seven days"));
        }
        for n in 0..25 {
            wished(&store, &format!("n{n}"), NOW + 2, &person(&format!("n{n}@example.net"), "")).await;
        }
        let asked = store.list_review(100).await.unwrap().into_iter().filter(|row| row.why.as_deref() == Some("asked to confirm by mail"));
        assert_eq!(asked.count(), 20);
    }
}

/// S-231: the unique key decides where two daemons ask at once.
#[tokio::test]
async fn two_messages_at_once_are_asked_about_once() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..6 {
            let store = store.clone();
            tasks.spawn(async move { wished(&store, &n.to_string(), NOW, &person("eva@example.net", "Eva")).await });
        }
        let mut asked = 0;
        for id in tasks.join_all().await {
            asked += usize::from(store.find_wish(id).await.unwrap().is_some());
        }
        assert_eq!((asked, store.list_review(10).await.unwrap().len()), (1, 6));
    }
}

/// S-53, S-186: an opt-out stops a question that waits, and one of somebody unknown counts too.
#[tokio::test]
async fn somebody_who_was_asked_can_say_stop() {
    for (store, _dir) in stores().await {
        sending_to(&store, 1).await;
        let eva = person("eva@example.net", "");
        let id = wished(&store, "1", NOW, &eva).await;
        let untold = store.list_untold(10).await.unwrap().remove(0);
        assert_eq!((untold.wish_address.as_deref(), untold.campaign.as_deref()), (Some("eva@example.net"), Some("natverk")));
        assert_eq!(store.tell(NOW, &untold, &[question("1:wish:0")]).await.unwrap(), 1);
        assert_eq!(store.find_wish(id).await.unwrap().unwrap().question.as_deref(), Some("Svara JA"));
        let claimed = store.claim_notices(NOW, 10, "d1", NOW + 60_000).await.unwrap();
        assert_eq!(store.stop_of_notice(claimed[0].id).await.unwrap(), None);
        let read =
            Understanding { intent: Some(Intent::Unsubscribe), evidence: "[]".into(), wish_id: Some(id), ..Understanding::default() };
        incoming(&store, "2", read, Effect::Suppress(Reason::Unsubscribed)).await;
        assert_eq!(store.suppression_of(&eva.address).await.unwrap().unwrap().0, Reason::Unsubscribed);
        assert_eq!(store.stop_of_notice(claimed[0].id).await.unwrap(), Some(Stop::Suppressed));
        let later = wished(&store, "3", NOW + 2 * crate::model::wish::ONCE_IN_MS, &eva).await;
        assert!(reason_of(&store, later).await.unwrap().contains("gets no mail from us"));
    }
}
