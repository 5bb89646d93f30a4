//! `svar queue`: what waits to be sent, by recipient domain, and why.

use clap::Args as ClapArgs;

use super::{Exit, Failure, Office, show, status};
use crate::store::{HeldCampaign, Queue, QueuedDomain, QueuedMail};

/// How many domains are shown unless all are asked for.
const DOMAINS: i64 = 20;
/// How many mails of one domain are shown unless all are asked for.
const MAILS: i64 = 100;

/// `svar queue [DOMAIN]`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// List the mails that wait for this recipient domain.
    #[arg(value_name = "DOMAIN", conflicts_with = "domain")]
    of: Option<String>,
    /// The same.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// All of them: otherwise the 20 domains that most waits for, or 100 mails.
    #[arg(long)]
    all: bool,
    /// Print as JSON Lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(office: &Office, args: Args) -> Result<Exit, Failure> {
    match args.of.as_deref().or(args.domain.as_deref()) {
        Some(domain) => one_domain(office, domain, &args).await,
        None => all_domains(office, &args).await,
    }
}

async fn all_domains(office: &Office, args: &Args) -> Result<Exit, Failure> {
    let queue = office.store.queue(office.now(), (!args.all).then_some(DOMAINS)).await?;
    if args.json {
        queue.domains.iter().try_for_each(|domain| show::json_line(&as_json(domain)))?;
        return Ok(Exit::Done);
    }
    if queue.domains.is_empty() {
        show::line("nothing waits to be sent")?;
    } else {
        table_of(office, &queue)?;
    }
    for held in office.store.held_campaigns().await? {
        show::line(&held_in_words(&held))?;
    }
    status::in_the_way(office).await?;
    Ok(Exit::Done)
}

fn table_of(office: &Office, queue: &Queue) -> Result<(), Failure> {
    let now = office.now();
    let row = |d: &QueuedDomain| {
        let count = |n: i64| if n == 0 { "-".to_owned() } else { n.to_string() };
        vec![
            d.domain.clone(),
            count(d.due),
            count(d.later),
            count(d.sending),
            count(d.uncertain),
            show::span(now - d.oldest_at),
            d.next_at.map_or_else(String::new, |at| format!("in {}", show::span(at - now))),
            why(d),
        ]
    };
    let head = ["domain", "due", "retry", "sending", "uncertain", "oldest", "next try", "why they wait for a retry"];
    show::table(&head, queue.domains.iter().map(row))?;
    if queue.other_domains > 0 {
        show::line(&format!("… and {} more domains ({}); svar queue --all", queue.other_domains, show::mails(queue.other_mails)))?;
    }
    Ok(())
}

/// The commonest reply, and how many of those that wait got it where that is not all of them.
fn why(domain: &QueuedDomain) -> String {
    let Some(reply) = &domain.reply else { return String::new() };
    let share = if domain.replies < domain.later { format!("{} of {}: ", domain.replies, domain.later) } else { String::new() };
    show::brief(&format!("{share}{}", with_code(domain.code, reply)), 90)
}

/// A reply that begins with its code already is not given it twice.
fn with_code(code: Option<i64>, reply: &str) -> String {
    match code {
        Some(code) if !reply.starts_with(&code.to_string()) => format!("{code} {reply}"),
        _ => reply.to_owned(),
    }
}

fn held_in_words(held: &HeldCampaign) -> String {
    let (name, mails) = (&held.campaign, show::mails(held.waiting));
    let wait = if held.waiting == 1 { "waits" } else { "wait" };
    match (held.state.as_str(), &held.paused_why) {
        ("paused", Some(why)) => {
            format!("{name} is paused, {mails} {wait} behind it: {}\n  mend it, then: svar campaign resume {name}", show::plain(why))
        }
        ("paused", None) => format!("{name} is paused, {mails} {wait} behind it; svar campaign resume {name}"),
        _ => format!("{name} is being checked, {mails} {wait} for that; svar serve does it"),
    }
}

async fn one_domain(office: &Office, domain: &str, args: &Args) -> Result<Exit, Failure> {
    let domain = domain.rsplit_once('@').map_or(domain, |(_, domain)| domain).to_lowercase();
    let limit = if args.all { i64::MAX } else { MAILS + 1 };
    let mut mails = office.store.queue_of(&domain, limit).await?;
    let more = !args.all && mails.len() > usize::try_from(MAILS).unwrap_or(usize::MAX);
    if more {
        mails.pop();
    }
    if args.json {
        mails.iter().try_for_each(|mail| show::json_line(&mail_as_json(mail)))?;
        return Ok(Exit::Done);
    }
    if mails.is_empty() {
        show::line(&format!("nothing waits for {domain}"))?;
        return Ok(Exit::Done);
    }
    let (now, zone) = (office.now(), office.config.zone);
    let row = |mail: &QueuedMail| {
        let next = if mail.state == "queued" { show::time(zone, mail.due_at) } else { String::new() };
        let reply = show::brief(&with_code(mail.code, mail.reply.as_deref().unwrap_or("")), 90);
        let what = mail.campaign.clone().unwrap_or_else(|| format!("(notice: {})", mail.about.as_deref().unwrap_or("")));
        vec![mail.recipient.clone(), what, state_in_words(mail, now).to_owned(), mail.attempts.to_string(), next, reply]
    };
    show::table(&["to", "campaign", "state", "attempts", "next try", "last reply"], mails.iter().map(row))?;
    if more {
        show::line(&format!("… and more; svar queue {domain} --all"))?;
    }
    Ok(Exit::Done)
}

fn state_in_words(mail: &QueuedMail, now: i64) -> &'static str {
    match mail.state.as_str() {
        "queued" if mail.due_at > now => "retry",
        "queued" => "due",
        "sending" => "sending",
        _ => "uncertain",
    }
}

fn as_json(domain: &QueuedDomain) -> serde_json::Value {
    serde_json::json!({
        "domain": domain.domain, "due": domain.due, "retry": domain.later, "sending": domain.sending, "uncertain": domain.uncertain,
        "oldest_at": show::rfc3339(domain.oldest_at), "next_try_at": domain.next_at.map(show::rfc3339),
        "code": domain.code, "reply": domain.reply, "replies": domain.replies,
    })
}

fn mail_as_json(mail: &QueuedMail) -> serde_json::Value {
    serde_json::json!({
        "to": mail.recipient, "name": mail.name.trim(), "campaign": mail.campaign, "notice": mail.about, "state": mail.state,
        "attempts": mail.attempts, "due_at": show::rfc3339(mail.due_at), "since": show::rfc3339(mail.since), "code": mail.code,
        "reply": mail.reply,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_shows_its_code_once() {
        assert_eq!(with_code(Some(450), "450 4.2.0 later"), "450 4.2.0 later");
        assert_eq!(with_code(Some(450), "later"), "450 later");
        assert_eq!(with_code(None, "connection lost"), "connection lost");
    }
}
