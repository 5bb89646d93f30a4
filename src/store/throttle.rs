//! How fast mail leaves: what was given out, kept for all daemons and over restarts; and the mailbox providers it is counted by.
//!
//! A claim asks and writes in its own transaction. What was given out and did not leave is given back afterwards, in another: a kill
//! between them counts it, so that a limit is never passed.

use sqlx::FromRow;

use super::db::{self, Conn, Value, values};
use super::{Error, Store, event};
use crate::model::event::{Cause, Event};
use crate::model::throttle::{Allowed, LONGEST_REST, Rate, Throttle, Used, ceiling, first_slots, slot};

/// The name under which a relay's or a provider's mail is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted<'a> {
    Relay(&'a str),
    Provider(&'a str),
}

impl Counted<'_> {
    fn name(self) -> String {
        match self {
            Self::Relay(host) => format!("relay {host}"),
            Self::Provider(name) => format!("provider {name}"),
        }
    }
}

/// How many of what is limited may leave, and what must be written when they do.
#[derive(Debug)]
pub(super) struct Ration {
    name: String,
    rate: Rate,
    used: Used,
    allowed: Allowed,
}

impl Ration {
    /// Looks how much may leave now; `None` where there is no limit. On PostgreSQL it holds the row of the pace until the transaction
    /// ends, so that daemons ask one after another.
    pub(super) async fn of(tx: &mut Conn, now: i64, counted: Counted<'_>, rate: Rate) -> Result<Option<Self>, Error> {
        if !rate.is_limited() {
            return Ok(None);
        }
        let name = counted.name();
        let sql = "INSERT INTO rate_pace (name, free_at) VALUES ($1, 0)
                   ON CONFLICT (name) DO UPDATE SET free_at = rate_pace.free_at RETURNING free_at";
        let free_at = tx.number(sql, values![&name]).await?;
        let (hour, day) = given_out(tx, now, &name).await?;
        let used = Used { free_at, hour, day };
        Ok(Some(Self { allowed: rate.allows(&used, now), name, rate, used }))
    }

    /// At most so many of `wanted`.
    pub(super) fn most(&self, wanted: i64) -> i64 {
        most(self.allowed, wanted)
    }

    /// At most so many of `wanted` deliveries when `notices` go before them, for which a part is kept.
    pub(super) fn most_after(&self, now: i64, notices: i64, wanted: i64) -> i64 {
        most(self.rate.for_editions().allows(&self.used, now), i64::MAX).saturating_sub(notices).clamp(0, wanted)
    }

    /// When more may leave, where nothing may now; in milliseconds since 1970.
    pub(super) fn not_before(&self) -> Option<i64> {
        match self.allowed {
            Allowed::Now(_) => None,
            Allowed::NotBefore(at) => Some(at),
        }
    }

    /// Writes that `n` were given out; what is older than a day is forgotten.
    pub(super) async fn take(&self, tx: &mut Conn, now: i64, n: i64) -> Result<(), Error> {
        if n == 0 {
            return Ok(());
        }
        let sql = "UPDATE rate_pace SET free_at = $2 WHERE name = $1";
        tx.execute(sql, values![&self.name, self.rate.free_at(&self.used, now, n)]).await?;
        let sql = "INSERT INTO rate_used (name, slot, n) VALUES ($1, $2, $3) ON CONFLICT (name, slot) DO UPDATE SET n = rate_used.n + $3";
        tx.execute(sql, values![&self.name, slot(now), n]).await?;
        let sql = "DELETE FROM rate_used WHERE name = $1 AND slot NOT BETWEEN $2 AND $3";
        tx.execute(sql, values![&self.name, first_slots(now).1, slot(now) + 1]).await?;
        Ok(())
    }
}

fn most(allowed: Allowed, wanted: i64) -> i64 {
    match allowed {
        Allowed::Now(n) => n.min(wanted),
        Allowed::NotBefore(_) => 0,
    }
}

/// What was given out in the last hour and the last 24. What a clock wrote that was ahead is not believed.
async fn given_out(conn: &mut Conn, now: i64, name: &str) -> Result<(i64, i64), Error> {
    let (hour, day) = first_slots(now);
    let sql = "SELECT CAST(COALESCE(SUM(CASE WHEN slot >= $2 THEN n ELSE 0 END), 0) AS BIGINT), CAST(COALESCE(SUM(n), 0) AS BIGINT)
               FROM rate_used WHERE name = $1 AND slot BETWEEN $3 AND $4";
    Ok(conn.first::<(i64, i64)>(sql, values![name, hour, day, slot(now) + 1]).await?.unwrap_or_default())
}

/// Why mail waits that could leave otherwise.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Slowed {
    /// A relay or a provider has been given all it may be in a time.
    UsedUp {
        /// The relay's host, or the provider's name.
        name: String,
        /// How many mails of editions it may be given.
        limit: u32,
        /// In how many hours: 1 or 24.
        hours: u8,
    },
    /// A provider said "slow down".
    Rests {
        /// Its name.
        name: String,
        /// Until when, in milliseconds since 1970.
        until: i64,
        /// What it said.
        why: String,
    },
}

/// The editions that have something queued and may leave, and of each the providers, in a table `part`: found by as many steps through
/// the index as there are of them, however much each has queued. The orders are the index's, so that PostgreSQL takes no other. The
/// providers are those that stand in the queue, so that nobody is left out whose provider the configuration has forgotten.
pub(super) const OPEN: &str = "
    waiting (id) AS (
        SELECT (SELECT d.edition_id FROM delivery d WHERE d.state = 'queued' ORDER BY d.edition_id, d.provider, d.due_at, d.id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.edition_id FROM delivery d WHERE d.state = 'queued' AND d.edition_id > w.id
                ORDER BY d.edition_id, d.provider, d.due_at, d.id LIMIT 1) FROM waiting w WHERE w.id IS NOT NULL),
    open (id) AS (
        SELECT e.id FROM waiting w JOIN edition e ON e.id = w.id JOIN campaign c ON c.id = e.campaign_id
        WHERE c.state = 'active' AND e.checked_at IS NOT NULL),
    part (id, provider) AS (
        SELECT e.id, (SELECT d.provider FROM delivery d WHERE d.state = 'queued' AND d.edition_id = e.id
                      ORDER BY d.provider, d.due_at, d.id LIMIT 1) FROM open e
        UNION ALL
        SELECT t.id, (SELECT d.provider FROM delivery d WHERE d.state = 'queued' AND d.edition_id = t.id AND d.provider > t.provider
                      ORDER BY d.provider, d.due_at, d.id LIMIT 1) FROM part t WHERE t.provider IS NOT NULL)";

/// An edition and a provider that have mail due.
#[derive(Debug, FromRow)]
pub(super) struct Due {
    pub(super) edition_id: i64,
    pub(super) provider: String,
    rests_until: Option<i64>,
    /// Since when the first of it is due, in milliseconds since 1970.
    pub(super) due_at: i64,
}

impl Due {
    /// How many of `wanted` may be given out beside those under way, where it rests or did so lately (S-59).
    pub(super) async fn most(&self, tx: &mut Conn, now: i64, wanted: i64) -> Result<i64, Error> {
        let Some(ceiling) = self.rests_until.and_then(|until| ceiling(until, now)) else { return Ok(wanted) };
        let sql = "SELECT COUNT(*) FROM delivery WHERE state = 'sending' AND provider = $1";
        Ok((ceiling - tx.number(sql, values![&self.provider]).await?).clamp(0, wanted))
    }
}

/// What has mail due, by provider: whoever asks for several rations asks in one order, so that daemons do not wait for each other. The
/// order and limit keep PostgreSQL from reading all that is due to know that something is (528 ms of a million, and 1 with them).
pub(super) async fn due(conn: &mut Conn, now: i64) -> Result<Vec<Due>, Error> {
    let sql = format!(
        "WITH RECURSIVE {OPEN}
         SELECT edition_id, provider, rests_until, due_at FROM (
             SELECT t.id AS edition_id, t.provider, p.rests_until,
                 (SELECT d.due_at FROM delivery d WHERE d.state = 'queued' AND d.edition_id = t.id AND d.provider = t.provider AND d.due_at <= $1
                  ORDER BY d.due_at, d.id LIMIT 1) AS due_at
             FROM part t LEFT JOIN provider p ON p.name = t.provider) AS first
         WHERE due_at IS NOT NULL ORDER BY provider, edition_id"
    );
    conn.all(&sql, values![now]).await
}

impl Store {
    /// Makes the providers of the configuration those that mail is counted by, also for what is queued already. Called when a daemon
    /// starts; where several share the database the last one's configuration is everybody's. `false` where nothing changed.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn set_providers(&self, rates: &Throttle) -> Result<bool, Error> {
        let wanted = rates.providers.iter().flat_map(|(name, p)| p.domains.iter().map(move |domain| (domain.clone(), name.clone())));
        let mut wanted: Vec<(String, String)> = wanted.collect();
        wanted.sort();
        let mut tx = self.db.begin().await?;
        // daemons that start together do it one after another
        if let Some(sql) = tx.dialect().lock_table("provider_domain") {
            tx.execute(&sql, vec![]).await?;
        }
        let kept: Vec<(String, String)> = tx.all("SELECT domain, provider FROM provider_domain ORDER BY domain", vec![]).await?;
        if kept == wanted {
            return Ok(false);
        }
        tx.execute("DELETE FROM provider_domain", vec![]).await?;
        let pairs = tx.dialect().each(1);
        let sql = format!("INSERT INTO provider_domain (domain, provider) SELECT value ->> 0, value ->> 1 FROM {pairs}");
        tx.execute(&sql, vec![json(&wanted)]).await?;
        let names: Vec<[&String; 1]> = rates.providers.keys().map(|name| [name]).collect();
        let sql = format!("INSERT INTO provider (name) SELECT value ->> 0 FROM {pairs} WHERE true ON CONFLICT (name) DO NOTHING");
        tx.execute(&sql, vec![json(&names)]).await?;
        // what comes back to the queue later keeps the name it had, and is found all the same
        let provider = provider_of("(SELECT c.address_key FROM contact c WHERE c.id = delivery.contact_id)", tx.dialect());
        let sql = format!("UPDATE delivery SET provider = {provider} WHERE state = 'queued' AND provider <> {provider}");
        tx.execute(&sql, vec![]).await?;
        tx.execute("DELETE FROM provider WHERE name <> '' AND name NOT IN (SELECT provider FROM provider_domain)", vec![]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A provider told us to slow down: nothing is given out for it before `until` (S-59). `false` where it rests so long already.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn rest_provider(&self, now: i64, name: &str, until: i64, why: &str) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let sql = "INSERT INTO provider (name, rests_until, why) VALUES ($1, $2, $3)
                   ON CONFLICT (name) DO UPDATE SET rests_until = $2, why = $3 WHERE provider.rests_until IS NULL OR provider.rests_until < $2";
        let changed = tx.execute(sql, values![name, until, why]).await? > 0;
        if changed {
            let detail = serde_json::json!({ "provider": name, "until": until, "why": why });
            event::write(&mut tx, now, &[Event::new("provider.rests", Cause::Relay).detail(detail)]).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// What holds mail back by its rate: quotas that are used up, through the relay `host` and for providers, and providers that rest.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_slowed(&self, now: i64, host: &str, throttle: &Throttle) -> Result<Vec<Slowed>, Error> {
        let mut conn = self.db.read().await?;
        let providers = throttle.providers.iter().map(|(name, provider)| (name.as_str(), Counted::Provider(name), provider.rate));
        let mut slowed = Vec::new();
        for (name, counted, rate) in std::iter::once((host, Counted::Relay(host), throttle.relay.for_editions())).chain(providers) {
            if rate.per_hour == 0 && rate.per_day == 0 {
                continue;
            }
            let (hour, day) = given_out(&mut conn, now, &counted.name()).await?;
            for (limit, used, hours) in [(rate.per_day, day, 24), (rate.per_hour, hour, 1)] {
                if limit > 0 && used >= i64::from(limit) {
                    slowed.push(Slowed::UsedUp { name: name.to_owned(), limit, hours });
                    break;
                }
            }
        }
        let sql = "SELECT name, rests_until, COALESCE(why, '') FROM provider WHERE rests_until > $1 AND rests_until <= $2 ORDER BY name";
        let resting: Vec<(String, i64, String)> = conn.all(sql, values![now, now + LONGEST_REST]).await?;
        slowed.extend(resting.into_iter().map(|(name, until, why)| Slowed::Rests { name, until, why }));
        Ok(slowed)
    }

    /// Gives back what was given out at `claimed_at` through the relay `host` and did not leave: so many notices, and these deliveries.
    /// It goes in the order in which a claim writes, so that neither waits for the other.
    ///
    /// # Errors
    /// Where the database fails; then it stays counted.
    pub async fn give_back_rate(
        &self,
        claimed_at: i64,
        host: &str,
        rates: &Throttle,
        notices: i64,
        deliveries: &[i64],
    ) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let sql = format!("SELECT provider, COUNT(*) FROM delivery WHERE id {} GROUP BY provider ORDER BY provider", tx.dialect().among(1));
        let of_providers: Vec<(String, i64)> = tx.all(&sql, vec![db::ids(deliveries)]).await?;
        let all = notices + of_providers.iter().map(|(_, n)| n).sum::<i64>();
        let limited = of_providers.iter().filter(|(name, _)| rates.of(name).is_limited());
        let relay = rates.relay.is_limited().then_some((Counted::Relay(host), all));
        for (counted, n) in limited.map(|(name, n)| (Counted::Provider(name), *n)).chain(relay) {
            let sql = "UPDATE rate_used SET n = CASE WHEN n > $3 THEN n - $3 ELSE 0 END WHERE name = $1 AND slot = $2";
            tx.execute(sql, values![counted.name(), slot(claimed_at), n]).await?;
        }
        tx.commit().await
    }
}

/// The provider of an address, as a statement's expression: '' where there is none.
pub(super) fn provider_of(address_key: &str, dialect: db::Dialect) -> String {
    let domain = dialect.after_at(address_key);
    format!("COALESCE((SELECT p.provider FROM provider_domain p WHERE p.domain = {domain}), '')")
}

fn json<T: serde::Serialize>(value: &T) -> Value {
    Value::from(serde_json::json!(value).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::Address;
    use crate::model::contact::Person;
    use crate::model::throttle::Provider;
    use crate::store::tests::{sending, sending_to, stores};
    use crate::store::{Claim, Claimed, Fate, Limits, Settled};

    const NOW: i64 = 1_795_500_000_000;

    fn rates(relay: Rate, providers: &[(&str, &str, Rate)]) -> Throttle {
        let provider = |domain: &str, rate| Provider { domains: vec![domain.into()], rate, ..Provider::default() };
        Throttle { relay, providers: providers.iter().map(|(name, domain, rate)| ((*name).into(), provider(domain, *rate))).collect() }
    }

    async fn claim(store: &Store, now: i64, limit: i64, rates: &Throttle) -> Claim {
        store.claim_due(now, limit, ("d1", now + 60_000), Limits { host: "relay.example", throttle: rates, now }).await.unwrap()
    }

    /// To three domains, `n` each.
    async fn sending_to_each(store: &Store, n: usize) {
        let domains = ["example.org", "gmail.com", "hotmail.se"];
        let person = |i: usize| Person::new(Address::parse(&format!("p{i}@{}", domains[i % 3])).unwrap());
        store.import(NOW, "chefer", "people.csv", (0..n * 3).map(person)).await.unwrap();
        sending(store, n * 3).await;
    }

    fn of<'a>(claim: &'a Claim, provider: &'a str) -> impl Iterator<Item = i64> + 'a {
        claim.deliveries.iter().filter(move |d| d.provider == provider).map(|d| d.id)
    }

    /// S-89: daemons that share a database share what the relay lets through, and a restart forgets nothing.
    #[tokio::test]
    async fn a_relay_gets_no_more_than_its_rate_from_all_daemons() {
        for (store, _dir) in stores().await {
            sending_to(&store, 40).await;
            let rates = rates(Rate { per_hour: 25, ..Rate::default() }, &[]);
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (store, rates) = (store.clone(), rates.clone());
                tasks.spawn(async move {
                    let mut claimed = 0;
                    loop {
                        let claim = claim(&store, NOW, 3, &rates).await;
                        claimed += claim.deliveries.len();
                        if claim.deliveries.is_empty() {
                            return claimed;
                        }
                    }
                });
            }
            assert_eq!(tasks.join_all().await.iter().sum::<usize>(), 24, "one of 25 is kept for a notice");
            let used_up = Slowed::UsedUp { name: "relay.example".into(), limit: 24, hours: 1 };
            assert_eq!(store.list_slowed(NOW, "relay.example", &rates).await.unwrap(), [used_up]);
            assert!(claim(&store, NOW + 3_500_000, 99, &rates).await.deliveries.is_empty());
            assert_eq!(claim(&store, NOW + 4_200_000, 99, &rates).await.deliveries.len(), 16);
        }
    }

    #[tokio::test]
    async fn what_did_not_leave_does_not_count() {
        for (store, _dir) in stores().await {
            sending_to(&store, 20).await;
            let rates = rates(Rate { per_day: 10, ..Rate::default() }, &[]);
            let claimed = claim(&store, NOW, 99, &rates).await.deliveries;
            assert_eq!(claimed.len(), 10);
            let back: Vec<i64> = claimed.iter().take(4).map(|d| d.id).collect();
            let end = |id: &i64| Settled { id: *id, fate: Fate::Untouched(NOW), code: None, reply: String::new(), hard: false, attempt: 1 };
            store.settle_deliveries(NOW, "d1", &back.iter().map(end).collect::<Vec<_>>()).await.unwrap();
            store.give_back_rate(NOW, "relay.example", &rates, 0, &back).await.unwrap();
            assert_eq!(claim(&store, NOW, 99, &rates).await.deliveries.len(), 4);
        }
    }

    /// What is given back counts no more in the time it was claimed in, and what left since counts on.
    #[tokio::test]
    async fn what_is_given_back_late_makes_no_room_for_more_than_the_rate() {
        for (store, _dir) in stores().await {
            sending_to(&store, 40).await;
            let rates = rates(Rate { per_hour: 10, ..Rate::default() }, &[]);
            let early = claim(&store, NOW, 5, &rates).await.deliveries;
            assert_eq!(claim(&store, NOW + 400_000, 99, &rates).await.deliveries.len(), 5);
            let back: Vec<i64> = early.iter().map(|d| d.id).collect();
            store.give_back_rate(NOW, "relay.example", &rates, 0, &back).await.unwrap();
            assert_eq!(claim(&store, NOW + 410_000, 99, &rates).await.deliveries.len(), 5);
            // an hour after the first claim nothing that left is forgotten
            assert!(claim(&store, NOW + 3_900_000, 99, &rates).await.deliveries.is_empty());
        }
    }

    /// S-244: what was written by a clock that was a year ahead holds nothing back once it is right.
    #[tokio::test]
    async fn a_clock_that_is_set_back_stops_nothing() {
        for (store, _dir) in stores().await {
            sending_to(&store, 40).await;
            let year = 31_536_000_000;
            let rates = rates(Rate { per_minute: 30, per_day: 10, ..Rate::default() }, &[]);
            for later in 0..10 {
                assert_eq!(claim(&store, NOW + year + later * 2_001, 1, &rates).await.deliveries.len(), 1);
            }
            assert_eq!(claim(&store, NOW + 4_002, 1, &rates).await.deliveries.len(), 1);
        }
    }

    /// The settler gives back while others claim, and daemons start together.
    #[tokio::test]
    async fn who_claims_and_who_gives_back_do_not_wait_for_each_other() {
        for (store, _dir) in stores().await {
            let much = Rate { per_day: 1_000_000, ..Rate::default() };
            let rates = rates(much, &[("google", "gmail.com", much), ("microsoft", "hotmail.se", much)]);
            let starts: Vec<_> = (0..3)
                .map(|_| {
                    tokio::spawn({
                        let (store, rates) = (store.clone(), rates.clone());
                        async move { store.set_providers(&rates).await }
                    })
                })
                .collect();
            for start in starts {
                start.await.unwrap().unwrap();
            }
            sending_to_each(&store, 60).await;
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (store, rates) = (store.clone(), rates.clone());
                tasks.spawn(async move {
                    for _ in 0..12 {
                        let claimed: Vec<i64> = claim(&store, NOW, 6, &rates).await.deliveries.iter().map(|d| d.id).collect();
                        store.give_back_rate(NOW, "relay.example", &rates, 0, &claimed).await.unwrap();
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap();
            }
        }
    }

    /// S-59: one that must wait holds nobody up, and none takes all.
    #[tokio::test]
    async fn each_provider_has_its_own_rate_and_a_fair_share() {
        for (store, _dir) in stores().await {
            let slow = Rate { per_minute: 1, ..Rate::default() };
            let rates = rates(Rate::default(), &[("google", "gmail.com", Rate::default()), ("microsoft", "hotmail.se", slow)]);
            assert!(store.set_providers(&rates).await.unwrap());
            assert!(!store.set_providers(&rates).await.unwrap(), "nothing changed");
            sending_to_each(&store, 20).await;
            let first = claim(&store, NOW, 12, &rates).await;
            assert_eq!(first.deliveries.len(), 12);
            assert_eq!(of(&first, "microsoft").count(), 1);
            assert!(of(&first, "google").count() >= 4 && of(&first, "").count() >= 4);
            assert_eq!(claim(&store, NOW + 1, 99, &rates).await.deliveries.len(), 20 + 20 + 20 - 12 - 19, "all but those that wait");
            assert!(claim(&store, NOW + 59_000, 99, &rates).await.deliveries.is_empty());
            assert_eq!(of(&claim(&store, NOW + 60_001, 99, &rates).await, "microsoft").count(), 1);
        }
    }

    /// S-59: nothing while it rests, then one at a time, and one more each minute.
    #[tokio::test]
    async fn a_provider_that_rests_is_left_alone_and_begun_with_slowly() {
        for (store, _dir) in stores().await {
            let rates = rates(Rate::default(), &[("google", "gmail.com", Rate::default())]);
            store.set_providers(&rates).await.unwrap();
            sending_to_each(&store, 10).await;
            assert!(store.rest_provider(NOW, "google", NOW + 600_000, "450 4.7.28").await.unwrap());
            assert!(!store.rest_provider(NOW, "google", NOW + 600_000, "450 4.7.28").await.unwrap());
            assert_eq!(of(&claim(&store, NOW, 99, &rates).await, "google").count(), 0);
            let rests = Slowed::Rests { name: "google".into(), until: NOW + 600_000, why: "450 4.7.28".into() };
            assert_eq!(store.list_slowed(NOW, "relay.example", &rates).await.unwrap(), [rests]);
            assert_eq!(of(&claim(&store, NOW + 600_000, 99, &rates).await, "google").count(), 1);
            assert_eq!(of(&claim(&store, NOW + 600_000, 99, &rates).await, "google").count(), 0, "one is under way");
            assert_eq!(of(&claim(&store, NOW + 660_000, 99, &rates).await, "google").count(), 1, "two may be");
            assert_eq!(of(&claim(&store, NOW + 3_600_000, 99, &rates).await, "google").count(), 8);
        }
    }

    /// Nobody is left out when the configuration changes.
    #[tokio::test]
    async fn what_waits_for_a_provider_that_is_gone_waits_no_more() {
        for (store, _dir) in stores().await {
            let none = Rate { per_day: 1, ..Rate::default() };
            store.set_providers(&rates(Rate::default(), &[("google", "gmail.com", none)])).await.unwrap();
            sending_to_each(&store, 3).await;
            let under_way = claim(&store, NOW, 2, &rates(Rate::default(), &[])).await.deliveries;
            store.set_providers(&rates(Rate::default(), &[("microsoft", "hotmail.se", none)])).await.unwrap();
            let again =
                |d: &Claimed| Settled { id: d.id, fate: Fate::Again(NOW), code: None, reply: String::new(), hard: false, attempt: 1 };
            store.settle_deliveries(NOW, "d1", &under_way.iter().map(again).collect::<Vec<_>>()).await.unwrap();
            assert!(store.more_is_due(NOW, 8).await.unwrap());
            let claimed = claim(&store, NOW, 99, &rates(Rate::default(), &[])).await;
            assert_eq!((claimed.deliveries.len(), of(&claimed, "microsoft").count()), (9, 3));
        }
    }
}
