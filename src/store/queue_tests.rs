//! The queue by domain, on both databases.

use super::tests::{NOW, campaign_to, send_some, stores};
use super::*;
use crate::model::event::Cause;

fn people() -> Vec<String> {
    let stora = (0..5).map(|n| format!("person{n}@Stora.example"));
    let lilla = (0..3).map(|n| format!("person{n}@lilla.example"));
    stora.chain(lilla).chain(["ensam@tredje.example".to_owned()]).collect()
}

fn end(id: i64, fate: Fate, code: u16, reply: &str) -> Settled {
    Settled { id, fate, code: Some(code), reply: reply.into(), hard: false, attempt: 1 }
}

#[tokio::test]
async fn what_waits_is_counted_by_domain_with_the_commonest_reply() {
    for (store, _dir) in stores().await {
        assert_eq!(store.queue(NOW, Some(20)).await.unwrap(), Queue::default());
        campaign_to(&store, &people()).await;
        let claimed = store.claim_deliveries(NOW, 7, "d1", NOW + 60_000).await.unwrap();
        let again = Fate::Again(NOW + 600_000);
        let grey = "450 4.2.0 greylisted";
        let ends = [
            end(claimed[0].id, again, 450, grey),
            end(claimed[1].id, Fate::Again(NOW + 500_000), 450, grey),
            end(claimed[2].id, again, 451, "451 4.3.0 try later"),
            end(claimed[3].id, Fate::Uncertain, 0, "lost after the dot"),
            end(claimed[5].id, Fate::Sent, 250, "ok"),
        ];
        store.settle_deliveries(NOW, "d1", &ends).await.unwrap();

        let queue = store.queue(NOW, Some(1)).await.unwrap();
        assert_eq!((queue.domains.len(), queue.other_domains, queue.other_mails), (1, 2, 3));
        let stora = &queue.domains[0];
        assert_eq!((stora.domain.as_str(), stora.due, stora.later, stora.sending, stora.uncertain), ("stora.example", 0, 3, 1, 1));
        assert_eq!((stora.oldest_at, stora.next_at), (NOW, Some(NOW + 500_000)));
        assert_eq!((stora.code, stora.reply.as_deref(), stora.replies), (Some(450), Some(grey), 2));

        let all = store.queue(NOW, None).await.unwrap();
        assert_eq!((all.domains.len(), all.other_domains, all.other_mails), (3, 0, 0));
        let lilla = &all.domains[1];
        assert_eq!((lilla.domain.as_str(), lilla.due, lilla.sending, lilla.reply.as_deref()), ("lilla.example", 1, 1, None));

        let mails = store.queue_of("STORA.example", 10).await.unwrap();
        assert_eq!(mails.len(), 5);
        let first = mails.iter().find(|mail| mail.recipient == "person0@Stora.example").unwrap();
        assert_eq!((first.campaign.as_deref(), first.state.as_str(), first.attempts), (Some("natverk"), "queued", 1));
        assert_eq!((first.due_at, first.code, first.reply.as_deref()), (NOW + 600_000, Some(450), Some(grey)));
        assert_eq!(store.queue_of("stora.example", 2).await.unwrap().len(), 2);
        assert!(store.queue_of("nowhere.example", 2).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_waits_behind_a_paused_campaign_is_told_and_what_left_is_not() {
    for (store, _dir) in stores().await {
        campaign_to(&store, &people()).await;
        assert!(store.held_campaigns().await.unwrap().is_empty());
        send_some(&store, 4).await;
        store.pause_campaign(NOW, "natverk", Cause::Clock, Some("a field is missing")).await.unwrap();
        let held = store.held_campaigns().await.unwrap();
        assert_eq!(held.len(), 1);
        assert_eq!((held[0].campaign.as_str(), held[0].state.as_str(), held[0].waiting), ("natverk", "paused", 5));
        assert_eq!(held[0].paused_why.as_deref(), Some("a field is missing"));
    }
}

#[tokio::test]
async fn the_depth_passes_over_what_was_sent_and_the_oldest_over_what_is_held() {
    for (store, _dir) in stores().await {
        campaign_to(&store, &people()).await;
        let claimed = store.claim_deliveries(NOW, 4, "d1", NOW + 60_000).await.unwrap();
        let ends = [
            end(claimed[0].id, Fate::Again(NOW + 600_000), 450, "later"),
            end(claimed[1].id, Fate::Uncertain, 0, "lost"),
            end(claimed[2].id, Fate::Sent, 250, "ok"),
        ];
        store.settle_deliveries(NOW, "d1", &ends).await.unwrap();
        let depth = store.depth(NOW + 5_000).await.unwrap();
        assert_eq!(depth.deliveries, Waits { due: 5, later: 1, sending: 1, uncertain: 1 });
        assert_eq!((depth.notices, depth.oldest_due_at), (Waits::default(), Some(NOW)));
        assert_eq!(depth.campaigns, [("active".to_owned(), 1)]);
        store.pause_campaign(NOW, "natverk", Cause::Operator, None).await.unwrap();
        assert_eq!(store.depth(NOW + 5_000).await.unwrap().oldest_due_at, None);
    }
}
