//! What rates are counted from, on both databases.

use super::tests::{NOW, campaign_to, sent_by, stores};
use super::*;
use crate::model::campaign::State;
use crate::model::inbound::Kind;
use crate::model::rates::Tally;

/// S-54, S-55: of the newest edition, and after a resumption of what leaves from then on.
#[tokio::test]
async fn rates_are_counted_of_what_left_since_a_person_said_go_on() {
    for (store, _dir) in stores().await {
        let people: Vec<String> = (0..30).map(|n| format!("person{n}@example.org")).collect();
        campaign_to(&store, &people).await;
        let judged = store.list_judged(NOW).await.unwrap().remove(0);
        assert_eq!((judged.campaign.as_str(), judged.since, judged.warned_at), ("natverk", NOW, None));
        assert_eq!(store.tally(&judged).await.unwrap(), Tally::default());

        let claimed = store.claim_deliveries(NOW, 20, "d1", NOW + 60_000).await.unwrap();
        let end = |(at, claimed): (usize, &Claimed)| Settled {
            id: claimed.id,
            fate: if at < 3 { Fate::Failed } else { Fate::Sent },
            code: Some(if at < 3 { 550 } else { 250 }),
            reply: "as the relay said".into(),
            hard: at < 2,
            attempt: 1,
        };
        let ends: Vec<Settled> = claimed.iter().enumerate().map(end).collect();
        store.settle_deliveries(NOW + 1_000, "d1", &ends).await.unwrap();
        let known = store.find_known(claimed[5].id).await.unwrap().unwrap();
        sent_by(&store, "junk", Kind::Complaint, &known, Effect::Suppress(crate::model::suppression::Reason::Complaint)).await;
        assert_eq!(store.tally(&judged).await.unwrap(), Tally { mails: 20, hard_bounces: 2, complaints: 1 });

        assert!(store.warn_of_rates(NOW + 2_000, &judged, "one complained", None).await.unwrap());
        assert!(!store.warn_of_rates(NOW + 2_000, &judged, "one complained", None).await.unwrap(), "once");
        assert!(store.list_judged(NOW).await.unwrap()[0].warned_at.is_some());

        store.pause_for_rates(NOW + 3_000, &judged, "two are dead", None).await.unwrap();
        let campaign = store.get_campaign("natverk").await.unwrap();
        assert_eq!((campaign.state, campaign.paused_why.as_deref()), (State::Paused, Some("two are dead")));
        assert!(store.list_judged(NOW).await.unwrap().is_empty(), "what is paused is judged no more");

        store.resume_campaign(NOW + 4_000, "natverk").await.unwrap();
        let judged = store.list_judged(NOW).await.unwrap().remove(0);
        assert_eq!((judged.since, judged.warned_at), (NOW + 4_000, None));
        assert_eq!(store.tally(&judged).await.unwrap(), Tally::default(), "who resumes it is obeyed");
    }
}
