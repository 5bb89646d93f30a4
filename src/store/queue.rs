//! What waits to be sent, and why: by recipient domain, by campaign, and mail by mail. Counted by the database in one pass, so that
//! a million rows cost time and no memory of ours; nothing is locked, the daemon goes on.
//!
//! A domain is what follows the `@` of an address in lower case. The numbers are those of one moment; times are in milliseconds since 1970.

use sqlx::FromRow;

use super::db::{Conn, Dialect, values};
use super::{Error, Store, throttle};

/// What waits for one recipient domain.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct QueuedDomain {
    /// The domain, in lower case.
    pub domain: String,
    /// Mails whose time has come, those of campaigns that are held included.
    pub due: i64,
    /// Mails that wait for a later attempt.
    pub later: i64,
    /// Mails that a daemon holds.
    pub sending: i64,
    /// Mails of which nobody knows whether they arrived.
    pub uncertain: i64,
    /// Since when the oldest of them waits: its edition's opening, or when a notice was written.
    pub oldest_at: i64,
    /// When the first of those that wait for a later attempt is tried.
    pub next_at: Option<i64>,
    /// The code of the commonest reply to those that wait for a later attempt.
    #[sqlx(skip)]
    pub code: Option<i64>,
    /// Its words.
    #[sqlx(skip)]
    pub reply: Option<String>,
    /// How many got it.
    #[sqlx(skip)]
    pub replies: i64,
}

/// The domains that most waits for, and how much there is besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Most waiting first.
    pub domains: Vec<QueuedDomain>,
    /// Domains that are not among them.
    pub other_domains: i64,
    /// The mails of those.
    pub other_mails: i64,
}

/// A campaign of which nothing leaves now, and what waits behind it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, serde::Serialize)]
pub struct HeldCampaign {
    /// Its name.
    pub campaign: String,
    /// `paused` or `active`; an active one waits for its check.
    pub state: String,
    /// Why it is paused, where the reason is not a person's command.
    pub paused_why: Option<String>,
    /// Mails that wait behind it.
    pub waiting: i64,
}

/// One mail that waits.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct QueuedMail {
    /// The address it goes to.
    pub recipient: String,
    /// First and family name, empty where not known.
    pub name: String,
    /// The campaign; none for a notice.
    pub campaign: Option<String>,
    /// What a notice is about; none for a delivery.
    pub about: Option<String>,
    /// `queued`, `sending` or `uncertain`.
    pub state: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is or was due.
    pub due_at: i64,
    /// Since when it waits.
    pub since: i64,
    /// The code of the last reply.
    pub code: Option<i64>,
    /// Its words, or why there are none.
    pub reply: Option<String>,
}

/// Mails that wait, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Their time has come.
    pub due: i64,
    /// They wait for a later attempt.
    pub later: i64,
    /// A daemon holds them.
    pub sending: i64,
    /// Nobody knows whether they arrived.
    pub uncertain: i64,
}

/// How deep the queue is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Deliveries.
    pub deliveries: Waits,
    /// Notices.
    pub notices: Waits,
    /// Since when the oldest delivery is due that may leave: those of campaigns that are held are passed over.
    pub oldest_due_at: Option<i64>,
    /// Campaigns in each state.
    pub campaigns: Vec<(String, i64)>,
}

/// All that waits, with a word each for the domain of an address: deliveries by their contact, notices by their recipient.
/// Each state by itself, so that SQLite finds it by its index and does not read what was sent.
fn waiting(dialect: Dialect) -> String {
    let states = |row: &str| ["queued", "sending", "uncertain"].map(|state| row.replace("{state}", state)).join(" UNION ALL ");
    let delivery = format!(
        "SELECT {} AS domain, d.state, d.due_at, e.opened_at AS since, d.code, d.reply
         FROM delivery d JOIN contact c ON c.id = d.contact_id JOIN edition e ON e.id = d.edition_id WHERE d.state = '{{state}}'",
        dialect.after_at("c.address_key")
    );
    let notice = format!(
        "SELECT {} AS domain, n.state, n.due_at, n.composed_at AS since, n.code, n.reply FROM notice n WHERE n.state = '{{state}}'",
        dialect.after_at("LOWER(n.recipient)")
    );
    format!("{} UNION ALL {}", states(&delivery), states(&notice))
}

const HELD: &str = "
    SELECT ca.name AS campaign, ca.state, ca.paused_why, COUNT(*) AS waiting
    FROM edition e JOIN campaign ca ON ca.id = e.campaign_id JOIN delivery d ON d.edition_id = e.id AND d.state = 'queued'
    WHERE ca.state = 'paused' OR (ca.state = 'active' AND e.checked_at IS NULL)
    GROUP BY ca.name, ca.state, ca.paused_why ORDER BY 4 DESC, 1";

async fn waits(conn: &mut Conn, table: &str, now: i64) -> Result<Waits, Error> {
    // each by a partial index alone; both together would read the table
    let count = |condition: &str| format!("SELECT COUNT(*) FROM {table} WHERE {condition}");
    Ok(Waits {
        due: conn.number(&count("state = 'queued' AND due_at <= $1"), values![now]).await?,
        later: conn.number(&count("state = 'queued' AND due_at > $1"), values![now]).await?,
        sending: conn.number(&count("state = 'sending'"), vec![]).await?,
        uncertain: conn.number(&count("state = 'uncertain'"), vec![]).await?,
    })
}

impl Store {
    /// How deep the queue is, without a look at what was sent.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn depth(&self, now: i64) -> Result<Depth, Error> {
        let mut conn = self.db.read().await?;
        Ok(Depth {
            deliveries: waits(&mut conn, "delivery", now).await?,
            notices: waits(&mut conn, "notice", now).await?,
            oldest_due_at: throttle::due(&mut conn, now).await?.iter().map(|due| due.due_at).min(),
            campaigns: conn.all("SELECT state, COUNT(*) FROM campaign GROUP BY state ORDER BY state", vec![]).await?,
        })
    }

    /// The queue by recipient domain: the `limit` domains that most waits for, or all of them.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn queue(&self, now: i64, limit: Option<i64>) -> Result<Queue, Error> {
        let mut conn = self.db.read().await?;
        let sql = format!(
            "SELECT domain, due, later, sending, uncertain, oldest_at, next_at,
                 COUNT(*) OVER () AS domains, CAST(SUM(mails) OVER () AS BIGINT) AS all_mails
             FROM (SELECT domain, COUNT(*) AS mails,
                 COUNT(CASE WHEN state = 'queued' AND due_at <= $1 THEN 1 END) AS due,
                 COUNT(CASE WHEN state = 'queued' AND due_at > $1 THEN 1 END) AS later,
                 COUNT(CASE WHEN state = 'sending' THEN 1 END) AS sending,
                 COUNT(CASE WHEN state = 'uncertain' THEN 1 END) AS uncertain,
                 MIN(since) AS oldest_at, MIN(CASE WHEN state = 'queued' AND due_at > $1 THEN due_at END) AS next_at
                 FROM ({}) AS w GROUP BY domain) AS q
             ORDER BY mails DESC, domain LIMIT $2",
            waiting(conn.dialect())
        );
        let rows: Vec<DomainRow> = conn.all(&sql, values![now, limit.unwrap_or(i64::MAX)]).await?;
        let shown: i64 = rows.iter().map(|row| row.domain.mails()).sum();
        let mut queue = Queue {
            other_domains: rows.first().map_or(0, |row| row.domains) - i64::try_from(rows.len()).unwrap_or(0),
            other_mails: rows.first().map_or(0, |row| row.all_mails) - shown,
            domains: rows.into_iter().map(|row| row.domain).collect(),
        };
        add_replies(&mut conn, now, &mut queue.domains).await?;
        Ok(queue)
    }

    /// The mails that wait for one domain, the oldest first; at most `limit`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn queue_of(&self, domain: &str, limit: i64) -> Result<Vec<QueuedMail>, Error> {
        let mut conn = self.db.read().await?;
        let (of_contact, of_notice) = (conn.dialect().after_at("c.address_key"), conn.dialect().after_at("LOWER(n.recipient)"));
        let sql = format!(
            "SELECT c.address AS recipient, c.first_name || ' ' || c.last_name AS name, ca.name AS campaign, CAST(NULL AS TEXT) AS about,
                 d.state, d.attempts, d.due_at, e.opened_at AS since, d.code, d.reply
             FROM delivery d JOIN contact c ON c.id = d.contact_id JOIN edition e ON e.id = d.edition_id
             JOIN campaign ca ON ca.id = e.campaign_id
             WHERE d.state IN ('queued', 'sending', 'uncertain') AND {of_contact} = $1
             UNION ALL
             SELECT n.recipient, '', NULL, n.about, n.state, n.attempts, n.due_at, n.composed_at, n.code, n.reply
             FROM notice n WHERE n.state IN ('queued', 'sending', 'uncertain') AND {of_notice} = $1
             ORDER BY 8, 7, 1 LIMIT $2"
        );
        conn.all(&sql, values![domain.to_lowercase(), limit]).await
    }

    /// The campaigns of which nothing leaves now though mail waits, the one with most first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn held_campaigns(&self) -> Result<Vec<HeldCampaign>, Error> {
        self.db.read().await?.all(HELD, vec![]).await
    }
}

#[derive(FromRow)]
struct DomainRow {
    #[sqlx(flatten)]
    domain: QueuedDomain,
    domains: i64,
    all_mails: i64,
}

impl QueuedDomain {
    /// All that waits for it.
    #[must_use]
    pub fn mails(&self) -> i64 {
        self.due + self.later + self.sending + self.uncertain
    }
}

#[derive(FromRow)]
struct ReplyRow {
    domain: String,
    code: Option<i64>,
    reply: String,
    replies: i64,
}

/// The commonest reply to what waits for a later attempt, for each domain that has such mails.
async fn add_replies(conn: &mut Conn, now: i64, domains: &mut [QueuedDomain]) -> Result<(), Error> {
    if domains.iter().all(|domain| domain.later == 0) {
        return Ok(());
    }
    let sql = format!(
        "SELECT domain, code, reply, replies FROM (
             SELECT domain, code, reply, COUNT(*) AS replies,
                 ROW_NUMBER() OVER (PARTITION BY domain ORDER BY COUNT(*) DESC, MAX(due_at) DESC, reply) AS place
             FROM ({}) AS w WHERE state = 'queued' AND due_at > $1 AND reply <> '' GROUP BY domain, code, reply) AS r
         WHERE place = 1",
        waiting(conn.dialect())
    );
    let rows: Vec<ReplyRow> = conn.all(&sql, values![now]).await?;
    let mut rows: std::collections::HashMap<String, ReplyRow> = rows.into_iter().map(|row| (row.domain.clone(), row)).collect();
    for domain in domains {
        if let Some(row) = rows.remove(&domain.domain) {
            (domain.code, domain.reply, domain.replies) = (row.code, Some(row.reply), row.replies);
        }
    }
    Ok(())
}
