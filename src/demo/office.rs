//! Keeps the mail of the demo's fictional people, in memory.
//!
//! In: messages as an SMTP server took them. Out: mailboxes, and a signal when something new lies in one. Sizes are in
//! octets; a full office refuses (RFC 5321 §4.2.3, code 452) and forgets nothing that it took.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use mail_parser::MessageParser;
use tokio::sync::watch;

/// What an office holds unless told otherwise.
pub const CAPACITY_BYTES: usize = 64 * 1024 * 1024;

/// What is charged for one mail or answer besides its octets, so that empty ones cannot fill the memory either.
const OVERHEAD_BYTES: usize = 1024;

/// What a person is to svar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Gets invitations.
    Recipient,
    /// Sends them, and hears from svar.
    Organiser,
    /// Someone the office had not heard of until mail came.
    Stranger,
}

/// Somebody with a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The address, in its own spelling; compared in lower case.
    pub address: String,
    /// The name as its owner writes it.
    pub name: String,
    /// The language the person reads and writes, ISO 639-1.
    pub language: String,
    /// Who this is, in a few English words that follow the name: `leads the night shift at a bakery`.
    pub portrait: String,
    /// The same in Swedish.
    pub portrait_sv: String,
    /// What the person is to svar.
    pub role: Role,
}

impl Person {
    /// A person of whom nothing but the address is known.
    #[must_use]
    pub fn stranger(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            name: address.to_owned(),
            language: "en".to_owned(),
            portrait: String::new(),
            portrait_sv: String::new(),
            role: Role::Stranger,
        }
    }
}

/// One mail in a mailbox.
#[derive(Clone, Debug)]
pub struct Mail {
    /// MAIL FROM; empty for the null return path.
    pub envelope_from: String,
    /// The message as it came.
    pub raw: Vec<u8>,
    /// When the office took it.
    pub received_at: DateTime<Utc>,
    /// The subject, decoded, for lists.
    pub subject: String,
    /// The display name of From, or the address where there is none.
    pub sender: String,
    /// What the person has answered so far, oldest first.
    pub answers: Vec<Answer>,
}

/// What a person wrote back to one mail.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Answer {
    /// The words, without the quoted mail.
    pub text: String,
    /// When they were sent.
    pub sent_at: DateTime<Utc>,
}

/// A person and the mail they have, oldest first. The position of a mail is its index and never changes.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// Whose it is.
    pub person: Person,
    /// What lies in it.
    pub mails: Vec<Mail>,
}

/// The office has no room for this message; it may come again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the post office is full ({capacity_bytes} octets); restart the demo to empty it")]
pub struct Full {
    /// How much it may hold.
    pub capacity_bytes: usize,
}

/// The office itself: share it in an `Arc`.
#[derive(Debug)]
pub struct Office {
    inner: Mutex<Inner>,
    taken: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    mailboxes: Vec<Mailbox>,
    used_bytes: usize,
    capacity_bytes: usize,
}

impl Office {
    /// An office for these people, who have no mail yet, with room for `capacity_bytes` in all (see [`CAPACITY_BYTES`]).
    #[must_use]
    pub fn new(people: Vec<Person>, capacity_bytes: usize) -> Self {
        let mailboxes = people.into_iter().map(|person| Mailbox { person, mails: Vec::new() }).collect();
        Self { inner: Mutex::new(Inner { mailboxes, used_bytes: 0, capacity_bytes }), taken: watch::Sender::new(0) }
    }

    /// Puts a message into the mailbox of `to`, which is opened for a stranger. Returns the index it has there.
    ///
    /// # Errors
    /// [`Full`] where there is no room; nothing was kept.
    pub fn deliver(&self, from: &str, to: &str, bytes: Vec<u8>, at: DateTime<Utc>) -> Result<usize, Full> {
        let mail = read_mail(from, bytes, at);
        let index = self.lock().put(to, mail)?;
        self.taken.send_modify(|count| *count += 1);
        Ok(index)
    }

    /// Counts the messages taken so far and wakes whoever waits for the next one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }

    /// Every mailbox, those of the people it was made with first, as it is now.
    ///
    /// Copies all the mail; for a list that is looked at again and again see [`Office::each`].
    #[must_use]
    pub fn mailboxes(&self) -> Vec<Mailbox> {
        self.lock().mailboxes.clone()
    }

    /// What `look` makes of each mailbox, without copying the mail.
    pub fn each<T>(&self, look: impl FnMut(&Mailbox) -> T) -> Vec<T> {
        self.lock().mailboxes.iter().map(look).collect()
    }

    /// The person at an address, whatever its case.
    #[must_use]
    pub fn person(&self, address: &str) -> Option<Person> {
        self.lock().find(address).map(|m| m.person.clone())
    }

    /// One mail, with its raw octets.
    #[must_use]
    pub fn mail(&self, address: &str, index: usize) -> Option<Mail> {
        self.lock().find(address)?.mails.get(index).cloned()
    }

    /// Remembers what a person answered to a mail, so that the page can show it. `false` where there is no such mail
    /// or no room.
    pub fn note_answer(&self, address: &str, index: usize, text: &str, at: DateTime<Utc>) -> bool {
        let mut inner = self.lock();
        let size_bytes = text.len() + OVERHEAD_BYTES;
        if inner.charge(size_bytes).is_err() {
            return false;
        }
        let mail = inner.find_mut(address).and_then(|m| m.mails.get_mut(index));
        let Some(mail) = mail else {
            inner.used_bytes -= size_bytes;
            return false;
        };
        mail.answers.push(Answer { text: text.to_owned(), sent_at: at });
        true
    }

    /// The lock; a thread that panicked with it left the list whole, so its poison is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, to: &str, mail: Mail) -> Result<usize, Full> {
        self.charge(mail.raw.len() + OVERHEAD_BYTES)?;
        if self.find(to).is_none() {
            self.mailboxes.push(Mailbox { person: Person::stranger(to), mails: Vec::new() });
        }
        let Some(mailbox) = self.find_mut(to) else { return Ok(0) };
        mailbox.mails.push(mail);
        Ok(mailbox.mails.len() - 1)
    }

    fn charge(&mut self, size_bytes: usize) -> Result<(), Full> {
        let used_bytes = self.used_bytes.saturating_add(size_bytes);
        if used_bytes > self.capacity_bytes {
            return Err(Full { capacity_bytes: self.capacity_bytes });
        }
        self.used_bytes = used_bytes;
        Ok(())
    }

    fn find(&self, address: &str) -> Option<&Mailbox> {
        self.mailboxes.iter().find(|m| same(&m.person.address, address))
    }

    fn find_mut(&mut self, address: &str) -> Option<&mut Mailbox> {
        self.mailboxes.iter_mut().find(|m| same(&m.person.address, address))
    }
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn read_mail(from: &str, raw: Vec<u8>, received_at: DateTime<Utc>) -> Mail {
    let message = MessageParser::default().parse_headers(raw.as_slice());
    let subject = message.as_ref().and_then(|m| m.subject()).unwrap_or_default().to_owned();
    let sender = message.as_ref().and_then(|m| m.from()).and_then(|from| from.first());
    let sender = sender.and_then(|a| a.name().or(a.address())).unwrap_or(from).to_owned();
    Mail { envelope_from: from.to_owned(), raw, received_at, subject, sender, answers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office(capacity_bytes: usize) -> Office {
        let anna = Person { name: "Anna".into(), role: Role::Recipient, ..Person::stranger("Anna@Example.org") };
        Office::new(vec![anna], capacity_bytes)
    }

    const MAIL: &[u8] = b"From: =?utf-8?Q?Monica_=C3=85?= <m@example.org>\r\nSubject: =?utf-8?Q?H=C3=B6st?=\r\n\r\nHej\r\n";

    #[test]
    fn mail_is_found_whatever_the_case_of_the_address() {
        let office = office(CAPACITY_BYTES);
        let at = DateTime::UNIX_EPOCH;
        assert_eq!(office.deliver("b@example.org", "anna@example.ORG", MAIL.to_vec(), at), Ok(0));
        assert_eq!(office.deliver("", "Anna@Example.org", MAIL.to_vec(), at), Ok(1));
        let mail = office.mail("ANNA@example.org", 0).unwrap();
        assert_eq!((mail.subject.as_str(), mail.sender.as_str()), ("Höst", "Monica Å"));
        assert_eq!((mail.envelope_from.as_str(), mail.raw.as_slice(), mail.received_at), ("b@example.org", MAIL, at));
        assert!(office.mail("anna@example.org", 2).is_none());
        assert_eq!(office.each(|m| m.mails.len()), [2]);
    }

    #[test]
    fn a_stranger_gets_a_mailbox() {
        let office = office(CAPACITY_BYTES);
        office.deliver("", "new@example.net", b"not a mail at all".to_vec(), DateTime::UNIX_EPOCH).unwrap();
        let boxes = office.mailboxes();
        assert_eq!((boxes.len(), boxes[1].person.role, boxes[1].mails.len()), (2, Role::Stranger, 1));
    }

    #[test]
    fn a_full_office_refuses_and_forgets_nothing() {
        let office = office(2 * (MAIL.len() + OVERHEAD_BYTES) + 10);
        let put = || office.deliver("", "anna@example.org", MAIL.to_vec(), DateTime::UNIX_EPOCH);
        assert_eq!((put(), put()), (Ok(0), Ok(1)));
        assert!(put().is_err());
        assert!(!office.note_answer("anna@example.org", 0, "Ja", DateTime::UNIX_EPOCH));
        assert_eq!((office.each(|m| m.mails.len()), *office.watch().borrow()), (vec![2], 2));
    }

    #[test]
    fn an_answer_is_kept_with_its_mail_only() {
        let office = office(CAPACITY_BYTES);
        office.deliver("", "anna@example.org", MAIL.to_vec(), DateTime::UNIX_EPOCH).unwrap();
        assert!(office.note_answer("anna@example.org", 0, "Ja", DateTime::UNIX_EPOCH));
        assert!(!office.note_answer("anna@example.org", 1, "Ja", DateTime::UNIX_EPOCH));
        assert_eq!(office.mail("anna@example.org", 0).unwrap().answers[0].text, "Ja");
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_new_mail() {
        let office = std::sync::Arc::new(office(CAPACITY_BYTES));
        let mut watch = office.watch();
        let postman = office.clone();
        tokio::spawn(async move { postman.deliver("", "anna@example.org", MAIL.to_vec(), DateTime::UNIX_EPOCH) });
        watch.wait_for(|count| *count == 1).await.unwrap();
    }
}
