//! Whose is it: a token first, then thread ids, then what a returned original carries; an address last and weakly.
//!
//! In: a parsed message and its envelope. Out: the [`Clue`] that counts, in the order of S-115. All but the address are
//! written by us and signed, so a forged one is none.

use crate::model::address::Address;
use crate::model::inbound::Envelope;
use crate::model::token::{Keys, Purpose, Token};

use super::parse::Parsed;

/// Our own addresses: what they look like, and the keys that sign them.
#[derive(Clone, Debug)]
pub struct Own {
    /// The address that tokens are put into.
    pub reply: Address,
    /// What stands between its local part and a token (S-116).
    pub separator: char,
    /// The keys.
    pub keys: Keys,
    /// Whether somebody who was not asked, and wants to take part, is asked by mail to confirm it.
    pub asks_strangers: bool,
}

/// What ties a message to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clue {
    /// The delivery.
    pub delivery_id: i64,
    /// What the token was made for.
    pub purpose: Purpose,
    /// Where it was found: `token`, `message-id` or `reference`.
    pub by: &'static str,
}

impl Own {
    /// The token in an address of ours; `None` for every other address.
    #[must_use]
    pub fn token(&self, address: &str) -> Option<Token> {
        let (local, domain) = address.rsplit_once('@')?;
        let head = local.get(..self.reply.local().len())?;
        let token = local.get(head.len()..)?.strip_prefix(self.separator)?;
        let ours = head.eq_ignore_ascii_case(self.reply.local()) && domain.eq_ignore_ascii_case(self.reply.domain());
        ours.then(|| self.keys.read(token)).flatten()
    }

    /// Whether mail to this address is taken: the bare address, or one with a token made for an address (S-102).
    #[must_use]
    pub fn takes(&self, address: &str) -> bool {
        address.eq_ignore_ascii_case(self.reply.as_str()) || self.token(address).is_some_and(is_for_addresses)
    }

    /// The address of ours that a message came to, in lower case: the envelope's, else the first one in its header.
    #[must_use]
    pub fn recipient(&self, envelope: &Envelope, parsed: &Parsed) -> Option<String> {
        let known = envelope.to.iter().chain(&parsed.delivered_to).chain(&parsed.to).chain(&parsed.cc).find(|a| self.takes(a));
        known.map(|address| address.to_lowercase())
    }

    /// Whether an address is one of ours, with or without a token: such an author is never answered (S-125).
    #[must_use]
    pub fn is_ours(&self, address: &str) -> bool {
        address.eq_ignore_ascii_case(self.reply.as_str()) || self.token(address).is_some()
    }

    /// The clue that counts.
    #[must_use]
    pub fn clue(&self, envelope: &Envelope, parsed: &Parsed) -> Option<Clue> {
        self.by_address_token(envelope, parsed).or_else(|| self.by_thread(parsed)).or_else(|| self.by_original(parsed))
    }

    /// The wish whose question a message answers: known by the address alone, which only its reader has (S-188).
    #[must_use]
    pub fn wish(&self, envelope: &Envelope, parsed: &Parsed) -> Option<i64> {
        self.address_token(envelope, parsed).filter(|token| token.purpose == Purpose::Wish).map(|token| token.id)
    }

    /// The notice that a message carries as its original.
    #[must_use]
    pub fn notice(&self, parsed: &Parsed) -> Option<i64> {
        let tokens = parsed.original_ids.iter().filter_map(|id| self.id_token(id));
        tokens.filter(|token| token.purpose == Purpose::Notice).map(|token| token.id).next()
    }

    fn by_address_token(&self, envelope: &Envelope, parsed: &Parsed) -> Option<Clue> {
        let token = self.address_token(envelope, parsed).filter(|token| token.purpose != Purpose::Wish)?;
        Some(Clue { delivery_id: token.id, purpose: token.purpose, by: "token" })
    }

    /// The first token in an address that a message came to.
    fn address_token(&self, envelope: &Envelope, parsed: &Parsed) -> Option<Token> {
        let places = envelope.to.iter().chain(&parsed.delivered_to).chain(&parsed.to).chain(&parsed.cc);
        places.filter_map(|address| self.token(address)).find(|token| is_for_addresses(*token))
    }

    fn by_thread(&self, parsed: &Parsed) -> Option<Clue> {
        let ids = parsed.in_reply_to.iter().chain(parsed.references.iter().rev());
        ids.filter_map(|id| self.message_token(id)).next().map(|token| clue_of(token, "message-id"))
    }

    fn by_original(&self, parsed: &Parsed) -> Option<Clue> {
        let references = parsed.svar_refs.iter().filter_map(|r| self.keys.read(r.trim())).filter(|t| t.purpose == Purpose::Reference);
        let originals = parsed.original_ids.iter().filter_map(|id| self.message_token(id));
        references.chain(originals).next().map(|token| clue_of(token, "reference"))
    }

    fn message_token(&self, id: &str) -> Option<Token> {
        self.id_token(id).filter(|token| token.purpose == Purpose::Message)
    }

    fn id_token(&self, id: &str) -> Option<Token> {
        let (local, domain) = id.rsplit_once('@')?;
        domain.eq_ignore_ascii_case(self.reply.domain()).then(|| self.keys.read(local)).flatten()
    }
}

fn is_for_addresses(token: Token) -> bool {
    matches!(token.purpose, Purpose::Reply | Purpose::Bounce | Purpose::Unsubscribe | Purpose::Wish)
}

fn clue_of(token: Token, by: &'static str) -> Clue {
    Clue { delivery_id: token.id, purpose: token.purpose, by }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::parse;

    fn own() -> Own {
        let reply = Address::parse("svar@example.org").unwrap();
        Own { reply, separator: '+', keys: Keys::single(1, vec![7; 32]), asks_strangers: true }
    }

    fn tagged(purpose: Purpose, id: i64) -> String {
        format!("svar+{}@example.org", own().keys.write(purpose, id))
    }

    fn clue(header: &str, to: Option<&str>) -> Option<Clue> {
        let parsed = parse::read(format!("{header}\r\n\r\nJa\r\n").as_bytes());
        own().clue(&Envelope { from: None, to: to.map(str::to_owned) }, &parsed)
    }

    /// S-115: the envelope, then the header, then the thread from its end, then a returned original; never a subject.
    #[test]
    fn clues_are_tried_in_order() {
        let (one, two) = (tagged(Purpose::Reply, 1), tagged(Purpose::Reply, 2));
        let id = |n| format!("<{}@example.org>", own().keys.write(Purpose::Message, n));
        assert_eq!(clue(&format!("To: {two}"), Some(&one)).unwrap().delivery_id, 1);
        assert_eq!(clue(&format!("To: x@example.org\r\nCc: {two}\r\nIn-Reply-To: {}", id(3)), None).unwrap().delivery_id, 2);
        let thread = clue(&format!("References: {} {}", id(3), id(4)), None).unwrap();
        assert_eq!((thread.delivery_id, thread.by), (4, "message-id"));
        let reference = format!("Svar-Ref: {}", own().keys.write(Purpose::Reference, 5));
        assert_eq!(clue(&reference, None), Some(Clue { delivery_id: 5, purpose: Purpose::Reference, by: "reference" }));
        assert_eq!(clue("Subject: Re: vill du?", None), None);
    }

    /// S-210: what answers a question about a wish answers no delivery, and the reverse.
    #[test]
    fn a_wish_is_tied_by_its_own_token_alone() {
        let wish =
            |to: &str| own().wish(&Envelope { from: None, to: Some(to.to_owned()) }, &parse::read(b"From: x@example.org\r\n\r\nJa\r\n"));
        let asked = tagged(Purpose::Wish, 5);
        assert!(own().takes(&asked));
        assert_eq!((wish(&asked), clue("Subject: x", Some(&asked))), (Some(5), None));
        for other in [Purpose::Reply, Purpose::Notice, Purpose::Unsubscribe].map(|purpose| tagged(purpose, 5)) {
            assert_eq!(wish(&other), None);
        }
    }

    /// S-102, S-210: a forged token, another domain or a token of another purpose opens nothing.
    #[test]
    fn only_what_we_wrote_is_taken() {
        assert!(own().takes("SVAR@Example.org") && own().takes(&tagged(Purpose::Reply, 1).to_uppercase()));
        assert!(own().takes(&tagged(Purpose::Bounce, 1)) && own().takes(&tagged(Purpose::Unsubscribe, 1)));
        let forged = tagged(Purpose::Reply, 1).replacen('a', "b", 1);
        for other in [
            "svar+x@example.org",
            "monica@example.org",
            "svar@example.com",
            &tagged(Purpose::Message, 1),
            &forged,
            "",
            "@",
            "svar+@example.org",
        ] {
            assert!(!own().takes(other), "{other}");
        }
        assert!(!own().takes(&tagged(Purpose::Reply, 1).replace("example.org", "example.com")));
        assert_eq!(clue(&format!("In-Reply-To: <{}@example.org>", own().keys.write(Purpose::Reply, 1)), None), None);
    }
}
