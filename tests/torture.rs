//! The way out under torture: daemons are killed, frozen and stopped at random points while the relay misbehaves and people opt
//! out; then the books are compared. Promises 2 and 3, S-53, S-73, S-74, S-240…S-242.
//!
//! A round is one campaign to [`PEOPLE`] people. Its seed decides what is done to the daemons and what the relay does with each
//! message; when exactly a process is hit is the machine's chance. `scripts/torture` runs many rounds and sums them up.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::message::header;
use super::support::process::signal;
use super::support::sink::{Act, Chance, Received, Sink, When, falls_into};
use super::support::stage::{guest, invite};
use super::support::svar::{Daemon, Home, Settings};
use super::support::{postgres, servers, wait};

/// How many people are written to in a round.
const PEOPLE: usize = 2_000;
/// How many of them opt out meanwhile.
const OPT_OUTS: usize = 12;
/// Of a thousand addresses so many are dead.
const DEAD: u64 = 5;
/// Connections of a daemon, and what each may hold: a claim, and the next one.
const LANES: usize = 4;
const HELD: usize = 32;
/// How long a delivery is one daemon's; a freeze lasts longer.
const LEASE: Duration = Duration::from_secs(2);

#[test]
fn one_daemon_on_sqlite_leaves_nobody_out_and_nobody_silently_doubled() {
    let sums = rounds(1, || "svar.db".into());
    println!("SQLite, one daemon: {sums}");
}

#[test]
fn three_daemons_on_postgresql_leave_nobody_out_and_nobody_silently_doubled() {
    if !servers::need("postgresql") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sums = rounds(3, || runtime.block_on(postgres::database()));
    println!("PostgreSQL, three daemons: {sums}");
}

/// What was done and what came of it, over all rounds.
#[derive(Default)]
struct Sums {
    rounds: usize,
    people: usize,
    kills: usize,
    freezes: usize,
    stops: usize,
    opt_outs: usize,
    told_twice: usize,
    uncertain: usize,
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rounds, people, kills, freezes, stops, opt_outs, told_twice, uncertain } = self;
        write!(
            f,
            "{rounds} rounds, {people} people, {kills} kills, {freezes} freezes, {stops} stops, {opt_outs} opt-outs: 0 left out, \
             0 silent doubles, 0 mailed after an opt-out; {uncertain} uncertain, of whom {told_twice} were told twice, with the same mail"
        )
    }
}

/// Runs rounds until so many kills are done: `SVAR_TORTURE_KILLS`, 10 where it is not set, from `SVAR_TORTURE_SEED`.
fn rounds(daemons: usize, database: impl Fn() -> String) -> Sums {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (kills, seed) = (number("SVAR_TORTURE_KILLS").unwrap_or(10), number("SVAR_TORTURE_SEED").unwrap_or(1));
    let mut sums = Sums::default();
    while (sums.kills as u64) < kills {
        let seed = seed + sums.rounds as u64;
        println!("seed {seed}");
        Round::new(seed, daemons, database()).run(&mut sums);
    }
    sums
}

struct Round {
    chance: Chance,
    seed: u64,
    sink: Sink,
    home: Home,
    daemons: Vec<Daemon>,
    /// Who opted out, and when the command that said so had ended.
    opted_out: HashMap<String, Instant>,
    /// Kills and freezes.
    blows: usize,
}

impl Round {
    fn new(seed: u64, daemons: usize, database: String) -> Self {
        let sink = Sink::script()
            .rule(When::ShareOfPeople(seed, DEAD), Act::RefuseRecipient("550 5.1.1 no such user".into()))
            .rule(When::Share(seed + 1, 15), Act::RefuseRecipient("450 4.2.0 greylisted, come back".into()))
            .rule(When::Share(seed + 2, 10), Act::RefuseMessage("451 4.3.0 not now".into()))
            .rule(When::Share(seed + 3, 1), Act::RefuseSender("421 4.3.2 closing".into()))
            .rule(When::Share(seed + 4, 1), Act::CloseBeforeDot)
            .rule(When::Share(seed + 5, 3), Act::CloseAfterDot)
            .rule(When::Share(seed + 6, 10), Act::Slow(Duration::from_millis(300)))
            .rule(When::Always, Act::Slow(Duration::from_millis(4)))
            .start();
        let home = invite(
            PEOPLE,
            Settings {
                database,
                relay: sink.address(),
                connections: LANES as u32,
                lease_seconds: LEASE.as_secs() as u32,
                retry_first_seconds: 1,
                notify: String::new(),
                ..Settings::default()
            },
        );
        let daemons = (0..daemons).map(|_| home.serve()).collect();
        Self { chance: Chance(seed), seed, sink, home, daemons, opted_out: HashMap::new(), blows: 0 }
    }

    fn run(mut self, sums: &mut Sums) {
        sums.rounds += 1;
        sums.people += PEOPLE;
        while self.sink.received().len() < PEOPLE * 9 / 10 {
            self.let_go_on();
            match self.chance.below(10) {
                0..5 => self.kill(sums),
                5..7 => self.freeze(sums),
                7 => self.stop(sums),
                _ => self.opt_out(sums),
            }
        }
        self.let_all_end();
        for daemon in std::mem::take(&mut self.daemons) {
            assert!(daemon.term().success());
        }
        self.compare_the_books(sums);
    }

    /// Until a few more mails have come, or a while has passed.
    fn let_go_on(&mut self) {
        let (more, until) = (self.sink.received().len() + self.chance.below(120) as usize, Instant::now() + Duration::from_secs(3));
        while self.sink.received().len() < more && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn one(&mut self) -> usize {
        self.chance.below(self.daemons.len() as u64) as usize
    }

    /// kill -9, and another in its place.
    fn kill(&mut self, sums: &mut Sums) {
        let at = self.one();
        self.daemons.swap_remove(at).kill9();
        self.daemons.push(self.home.serve());
        sums.kills += 1;
        self.blows += 1;
    }

    /// Stands still for longer than its lease, and goes on as if nothing had been.
    fn freeze(&mut self, sums: &mut Sums) {
        let at = self.one();
        signal(self.daemons[at].pid(), "STOP");
        thread::sleep(LEASE + Duration::from_millis(500 + self.chance.below(1_500)));
        signal(self.daemons[at].pid(), "CONT");
        sums.freezes += 1;
        self.blows += 1;
    }

    fn stop(&mut self, sums: &mut Sums) {
        let at = self.one();
        assert!(self.daemons.swap_remove(at).term().success());
        self.daemons.push(self.home.serve());
        sums.stops += 1;
    }

    fn opt_out(&mut self, sums: &mut Sums) {
        if self.opted_out.len() < OPT_OUTS {
            let address = guest(self.chance.below(PEOPLE as u64) as usize);
            self.home.ok(["contacts", "suppress", &address]);
            self.opted_out.insert(address, Instant::now());
            sums.opt_outs += 1;
        }
    }

    fn let_all_end(&self) {
        let mut last = Value::Null;
        let done = wait::within(wait::LONG, || {
            last = self.home.json(["status", "natverk", "--json"]);
            ["queued", "sending", "uncertain"].iter().all(|state| last[state] == 0).then_some(())
        });
        assert!(done.is_some(), "seed {}: not everybody has the mail: {last}", self.seed);
    }

    /// Every person in one true state; who has it twice has the same mail, and the history says so.
    fn compare_the_books(&self, sums: &mut Sums) {
        let (seed, received) = (self.seed, self.sink.received());
        let mut mails: HashMap<&str, Vec<&Received>> = HashMap::new();
        for mail in &received {
            mails.entry(mail.to[0].as_str()).or_default().push(mail);
        }
        let people = self.home.json(["status", "natverk", "--people", "--json"]);
        assert_eq!(people.as_array().unwrap().len(), PEOPLE, "seed {seed}");
        let mut repeats: HashMap<&str, usize> = HashMap::new();
        for person in people.as_array().unwrap() {
            let (address, state) = (person["address"].as_str().unwrap(), person["mail"].as_str().unwrap());
            let got = mails.get(address).map_or(0, Vec::len);
            let is_true = match state {
                "sent" => got > 0,
                "failed" => got == 0 && falls_into(seed, address.as_bytes(), DEAD),
                // an uncertain one whose repetition the opt-out stopped may have it
                "suppressed" => self.opted_out.contains_key(address),
                _ => false,
            };
            repeats.insert(address, person["repeats"].as_u64().unwrap() as usize);
            assert!(is_true, "seed {seed}: {address} is {state} and has {got} mails");
        }
        for (address, opted_out) in &self.opted_out {
            let late = mails.get(address.as_str()).into_iter().flatten().filter(|mail| mail.begun_at > *opted_out).count();
            assert_eq!(late, 0, "seed {seed}: {address} was mailed after the opt-out");
        }
        let doubled: Vec<_> = mails.iter().filter(|(_, mails)| mails.len() > 1).collect();
        for (address, mails) in &doubled {
            let first = mails[0];
            assert!(header(&first.bytes, "Message-ID").is_some());
            assert!(mails.iter().all(|m| m.bytes == first.bytes && m.from == first.from), "seed {seed}: {address} got two different mails");
            assert!(repeats[*address] >= mails.len() - 1, "seed {seed}: {address} was silently told twice");
            let history = self.home.json(["history", address, "--json"]);
            let told = history.as_array().unwrap().iter().filter(|e| e["event"] == "delivery.repeated").count();
            assert_eq!(told, repeats[*address], "seed {seed}: the history of {address} tells less than what happened");
        }
        let closed = (0..self.sink.begun()).filter(|nth| falls_into(seed + 5, &(nth + 1).to_le_bytes(), 3)).count();
        let most = self.blows * LANES * HELD + closed;
        assert!(doubled.len() <= most, "seed {seed}: {} doubles are more than were under way", doubled.len());
        assert_eq!(self.sink.faults(), Vec::<String>::new(), "seed {seed}");
        sums.told_twice += doubled.len();
        sums.uncertain += repeats.values().filter(|n| **n > 0).count();
    }
}
