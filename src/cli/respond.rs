//! `svar respond ADDRESS NAME yes`: an answer that came another way.

use clap::{Args as ClapArgs, ValueEnum};

use super::contacts::address_of;
use super::{Exit, Failure, Office, show};
use crate::model::answer::{Choice, Given, Meeting, Via};

/// `svar respond ADDRESS NAME ANSWER`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Whose answer.
    address: String,
    /// The campaign.
    name: String,
    /// The answer.
    #[arg(value_parser = ["yes", "no", "maybe"])]
    answer: String,
    /// How it came.
    #[arg(long, value_enum, default_value = "phone")]
    via: Way,
    /// People who come besides the contact.
    #[arg(long, value_parser = guests())]
    guests: Option<u32>,
    /// A note for the history.
    #[arg(long, default_value = "")]
    note: String,
}

/// How many people somebody may bring: more than this is a slip of the finger.
pub(super) fn guests() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=999)
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    Mail,
    Phone,
    Person,
}

/// Runs the command.
pub(super) async fn run(office: &Office, args: Args) -> Result<Exit, Failure> {
    let address = address_of(&args.address)?;
    let contact = office.store.find_contact(&address).await?;
    let contact = contact
        .ok_or_else(|| Failure::new(Exit::Failed, format!("there is no contact {address}; svar contacts import FILE --list NAME")))?;
    let choice = Choice::from_word(&args.answer).ok_or_else(|| Failure::new(Exit::Failed, "the answer is yes, no or maybe"))?;
    let via = match args.via {
        Way::Mail => Via::Mail,
        Way::Phone => Via::Phone,
        Way::Person => Via::Person,
    };
    let given = Given { choice, guests: args.guests, comment: args.note, via, given_at: office.now() };
    let meeting = office.store.respond(office.now(), contact.id, &args.name, &given).await?;
    show::line(&match meeting {
        Meeting::Repeats => format!("{address} had said {choice} already; nothing changed"),
        _ => format!("{address}: {choice}, by {via}"),
    })?;
    Ok(Exit::Done)
}
