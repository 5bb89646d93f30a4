//! An edition made ready, and the bytes of one delivery or notice from it.

use chrono::DateTime;

use super::Outbox;
use crate::config::Sender;
use crate::model::address::{Address, Mailbox};
use crate::model::campaign::{CampaignFile, Kind};
use crate::model::contact::Person;
use crate::model::token::Keys;
use crate::outbound::compose::{self, EditionMail, Lines, NoticeMail, Outgoing};
use crate::outbound::layout::Layout;
use crate::outbound::render::{Fault, Organiser, Rendered, Renderer};
use crate::store::{Claimed, ClaimedNotice, Edition};

/// An edition that is ready to be rendered for anybody.
#[derive(Debug)]
pub struct Prepared {
    renderer: Renderer,
    file: CampaignFile,
    key_id: u8,
    lines: Lines,
}

impl Prepared {
    /// Makes an edition's snapshot ready.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn new(edition: &Edition, sender: &Sender) -> Result<Self, String> {
        let first = |mistakes: Vec<crate::model::campaign::Mistake>| mistakes.into_iter().next().map(|m| m.message).unwrap_or_default();
        let file = CampaignFile::parse(&edition.source).map_err(first)?;
        let layout = Layout::from_snapshot(&edition.layout);
        let renderer = Renderer::new(&file, &edition.source, &layout, &organiser(sender)).map_err(first)?;
        Ok(Self { renderer, file, key_id: u8::try_from(edition.key_id).unwrap_or(0), lines: Lines::default() })
    }

    /// The words that a person is or was sent.
    ///
    /// # Errors
    /// [`Fault`] names the field that is missing.
    pub fn words(&self, person: &Person) -> Result<Rendered, Fault> {
        self.renderer.render(person)
    }
}

/// What a mail says of its sender.
#[must_use]
pub fn organiser(sender: &Sender) -> Organiser<'_> {
    Organiser { name: &sender.organiser, postal_address: &sender.postal_address, address: sender.from.address.as_str() }
}

pub(super) fn compose_delivery(sender: &Sender, keys: &Keys, edition: &Prepared, delivery: &Claimed) -> Result<Outgoing, String> {
    let person = &delivery.contact.person;
    let words = edition.words(person).map_err(|fault| fault.to_string())?;
    let name = format!("{} {}", person.first_name, person.last_name).trim().to_owned();
    let mail = EditionMail {
        delivery_id: delivery.id,
        key_id: edition.key_id,
        to: Mailbox { name, address: person.address.clone() },
        list: &edition.file.list,
        is_newsletter: edition.file.kind == Kind::Newsletter,
        date: DateTime::from_timestamp_millis(delivery.composed_at).unwrap_or_default(),
    };
    compose::edition(sender, keys, &mail, &words, &edition.lines).map_err(|error| error.to_string())
}

pub(super) fn compose_notice(outbox: &Outbox, notice: &ClaimedNotice) -> Result<Outgoing, String> {
    let to = Address::parse(&notice.recipient).map_err(|error| error.to_string())?;
    let mail = NoticeMail {
        notice_id: notice.id,
        key_id: u8::try_from(notice.key_id).unwrap_or(0),
        to,
        reply_to: &notice.reply_to,
        subject: &notice.subject,
        text: &notice.body,
        in_reply_to: &notice.in_reply_to,
        references: &notice.reference_ids,
        is_answer: matches!(notice.about.as_str(), "confirmation" | "wish"),
        date: DateTime::from_timestamp_millis(notice.composed_at).unwrap_or_default(),
    };
    compose::notice(&outbox.sender, &outbox.keys, &mail).map_err(|error| error.to_string())
}
