//! The next firing in a time zone.
//!
//! In: `now`, a wall time, or a cron expression of five fields, and an IANA zone. Out: instants in UTC, each with the
//! wall time it stands for; that wall time is the key that makes an occurrence happen once (S-165).
//! Sources: crontab(5) for the fields, S-164 (both day fields restricted means either), S-160…S-163 (gap and overlap).
//! The `cron` crate matches wall-clock fields; which instant a wall time is, is decided here, because the crate itself
//! skips a day in the spring gap, runs twice in the autumn overlap and counts weekdays from one.

use std::str::FromStr;

use chrono::{DateTime, Duration, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

/// When a campaign is to be sent.
#[derive(Clone, Debug)]
pub enum When {
    /// As soon as it is started.
    Now,
    /// Once, at a wall time in the organiser's zone.
    At(NaiveDateTime),
    /// Again and again.
    Cron(Rhythm),
}

/// A cron expression of five fields: minute, hour, day of month, month, day of week.
#[derive(Clone, Debug)]
pub struct Rhythm {
    text: String,
    /// One schedule, or two where both day fields are restricted: then a day that fits either is a day (S-164).
    any_of: Vec<cron::Schedule>,
    /// The hour is named, so an overlap runs once and a gap runs after it (S-163).
    fixed_hour: bool,
}

/// One planned firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The wall time it stands for, e.g. `2026-12-01T09:00`; `now` for what is sent as soon as it is started.
    pub slot: String,
    /// The instant.
    pub at: DateTime<Utc>,
}

impl When {
    /// Reads `now`, `2026-12-01 09:00`, or a cron expression.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("now") {
            return Ok(Self::Now);
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) && text.contains('-') && text.get(4..5) == Some("-") {
            return wall_time(text).map(Self::At);
        }
        Rhythm::parse(text).map(Self::Cron)
    }

    /// The first firing after an instant; `started` is when the campaign was started, for [`When::Now`].
    #[must_use]
    pub fn next(&self, zone: Tz, after: DateTime<Utc>, started: DateTime<Utc>) -> Option<Occurrence> {
        match self {
            Self::Now => (started >= after).then(|| Occurrence { slot: "now".to_owned(), at: started }),
            Self::At(wall) => {
                let at = instants(zone, *wall, true).into_iter().next()?;
                Some(Occurrence { slot: slot_of(*wall), at })
            }
            Self::Cron(rhythm) => rhythm.next(zone, after),
        }
    }

    /// Whether there is more than one firing.
    #[must_use]
    pub fn recurs(&self) -> bool {
        matches!(self, Self::Cron(_))
    }
}

fn wall_time(text: &str) -> Result<NaiveDateTime, String> {
    let text = text.replace('T', " ");
    let (date, time) = text.split_once(' ').map_or((text.as_str(), "09:00"), |(d, t)| (d, t.trim()));
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| format!("there is no day {date}; write YYYY-MM-DD HH:MM"))?;
    let time = NaiveTime::parse_from_str(time, "%H:%M")
        .or_else(|_| NaiveTime::parse_from_str(time, "%H:%M:%S"))
        .map_err(|_| format!("there is no time {time}; write HH:MM"))?;
    Ok(date.and_time(time))
}

fn slot_of(wall: NaiveDateTime) -> String {
    wall.format("%Y-%m-%dT%H:%M").to_string()
}

impl Rhythm {
    /// Reads the five fields.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "\"{text}\" is no time: write now, a wall time as 2026-12-01 09:00, or the five fields of cron (minute hour day month weekday)"
            ));
        };
        let weekday = weekday_names(weekday)?;
        let build = |day: &str, weekday: &str| {
            let expression = format!("0 {minute} {hour} {day} {month} {weekday}");
            cron::Schedule::from_str(&expression).map_err(|error| format!("cron expression \"{text}\": {}", error.to_string().trim()))
        };
        let unrestricted = |field: &str| field.starts_with('*') || field == "?";
        let any_of = if unrestricted(day) || unrestricted(&weekday) {
            vec![build(day, &weekday)?]
        } else {
            vec![build(day, "*")?, build("*", &weekday)?]
        };
        let rhythm = Self { text: text.to_owned(), any_of, fixed_hour: !hour.contains('*') };
        let reference = DateTime::<Utc>::UNIX_EPOCH + Duration::days(20_000);
        if rhythm.next(Tz::UTC, reference).is_none() {
            return Err(format!("cron expression \"{text}\" never comes: there is no such day"));
        }
        Ok(rhythm)
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn next(&self, zone: Tz, after: DateTime<Utc>) -> Option<Occurrence> {
        self.any_of.iter().filter_map(|schedule| self.next_of(schedule, zone, after)).min_by_key(|occurrence| occurrence.at)
    }

    /// Wall times are taken from four hours before `after`, dressed as UTC, and resolved one by one. A gap or an
    /// overlap moves an instant by less than four hours, so what lies further on cannot come first.
    fn next_of(&self, schedule: &cron::Schedule, zone: Tz, after: DateTime<Utc>) -> Option<Occurrence> {
        let margin = Duration::hours(4);
        let from = Utc.from_utc_datetime(&(after.with_timezone(&zone).naive_local() - margin));
        let mut best: Option<(Occurrence, NaiveDateTime)> = None;
        for wall in schedule.after(&from) {
            let wall = wall.naive_utc();
            if best.as_ref().is_some_and(|(_, of)| wall > *of + margin) {
                break;
            }
            for at in instants(zone, wall, self.fixed_hour) {
                if at > after && best.as_ref().is_none_or(|(b, _)| at < b.at) {
                    let slot = if self.fixed_hour { slot_of(wall) } else { slot_in_overlap(zone, wall, at) };
                    best = Some((Occurrence { slot, at }, wall));
                }
            }
        }
        best.map(|(occurrence, _)| occurrence)
    }
}

/// In an overlap a wall time comes twice; the second pass is told apart by its offset.
fn slot_in_overlap(zone: Tz, wall: NaiveDateTime, at: DateTime<Utc>) -> String {
    match zone.from_local_datetime(&wall) {
        LocalResult::Ambiguous(_, second) if second.with_timezone(&Utc) == at => format!("{}+again", slot_of(wall)),
        _ => slot_of(wall),
    }
}

/// The instants that a wall time is (S-162, S-163): none or one in a gap, one or both in an overlap.
fn instants(zone: Tz, wall: NaiveDateTime, fixed: bool) -> Vec<DateTime<Utc>> {
    match zone.from_local_datetime(&wall) {
        LocalResult::Single(t) => vec![t.with_timezone(&Utc)],
        LocalResult::Ambiguous(first, _) if fixed => vec![first.with_timezone(&Utc)],
        LocalResult::Ambiguous(first, second) => vec![first.with_timezone(&Utc), second.with_timezone(&Utc)],
        LocalResult::None if fixed => with_offset_before_gap(zone, wall).into_iter().collect(),
        LocalResult::None => Vec::new(),
    }
}

/// A wall time that does not exist is read with the offset before the gap (S-162): 02:30 becomes 03:30.
fn with_offset_before_gap(zone: Tz, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
    let before =
        (1..=8).find_map(|halves| zone.from_local_datetime(&(wall - Duration::minutes(30 * halves))).latest().map(|t| (t, halves)))?;
    Some(before.0.with_timezone(&Utc) + Duration::minutes(30 * before.1))
}

/// Rewrites numbers of weekdays as names: crontab(5) counts Sunday as 0 and 7, the crate as 1.
fn weekday_names(field: &str) -> Result<String, String> {
    const NAMES: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let number = |text: &str| -> Result<usize, String> {
        if let Ok(n) = text.parse::<usize>() {
            return if n <= 7 { Ok(n) } else { Err(format!("there is no weekday {n}; 0 and 7 are Sunday, 1 is Monday")) };
        }
        NAMES
            .iter()
            .position(|name| text.eq_ignore_ascii_case(name))
            .ok_or_else(|| format!("there is no weekday \"{text}\"; write 0-7 or MON"))
    };
    if field == "*" || field == "?" {
        return Ok("*".to_owned());
    }
    let mut days = Vec::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, "1"), |(r, s)| (r, s));
        let step: usize = step.parse().ok().filter(|s| *s > 0).ok_or_else(|| format!("\"/{step}\" is no step of days"))?;
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((a, b)) => (number(a)?, number(b)?),
            None if part.contains('/') => (number(range)?, 6),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return Err(format!("weekday range \"{range}\" runs backwards"));
        }
        days.extend((first..=last).step_by(step).map(|n| n % 7));
    }
    days.sort_unstable();
    days.dedup();
    if days.len() == 7 {
        return Ok("*".to_owned());
    }
    Ok(days.into_iter().map(|n| NAMES[n]).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Europe::Stockholm;

    fn utc(text: &str) -> DateTime<Utc> {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc()
    }

    fn next(expression: &str, zone: Tz, after: &str) -> DateTime<Utc> {
        When::parse(expression).unwrap().next(zone, utc(after), utc(after)).unwrap().at
    }

    #[test]
    fn a_wall_time_is_an_instant_in_the_organisers_zone() {
        assert_eq!(next("2026-12-01 09:00", Stockholm, "2026-11-24 00:00"), utc("2026-12-01 08:00"));
        assert_eq!(next("2026-07-01 09:00", Stockholm, "2026-06-24 00:00"), utc("2026-07-01 07:00"));
    }

    /// S-162: the two cases the standard names.
    #[test]
    fn the_gap_is_read_with_the_offset_before_it_and_the_overlap_is_the_first() {
        assert_eq!(next("2027-03-28 02:30", Stockholm, "2027-01-01 00:00"), utc("2027-03-28 01:30"));
        assert_eq!(next("2027-10-31 02:30", Stockholm, "2027-01-01 00:00"), utc("2027-10-31 00:30"));
    }

    /// S-163.
    #[test]
    fn a_fixed_hour_runs_once_on_each_day_of_the_year() {
        for zone in [Stockholm, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::America__Santiago] {
            let when = When::parse("30 2 * * *").unwrap();
            let mut last = when.next(zone, utc("2026-12-31 23:59"), utc("2026-12-31 23:59")).unwrap();
            for _ in 0..366 {
                let occurrence = when.next(zone, last.at, last.at).unwrap();
                let day = |slot: &str| NaiveDate::parse_from_str(&slot[..10], "%Y-%m-%d").unwrap();
                assert_eq!(day(&occurrence.slot), day(&last.slot).succ_opt().unwrap(), "{zone}");
                assert!(occurrence.at > last.at);
                last = occurrence;
            }
        }
    }

    /// S-164.
    #[test]
    fn both_day_fields_restricted_means_either() {
        assert_eq!(next("0 9 13 * 5", Tz::UTC, "2026-11-24 00:00"), utc("2026-11-27 09:00"));
        assert_eq!(next("0 9 13 * 5", Tz::UTC, "2026-12-12 00:00"), utc("2026-12-13 09:00"));
    }

    #[test]
    fn weekdays_are_counted_as_crontab_counts_them() {
        assert_eq!(next("0 9 * * 1", Tz::UTC, "2026-11-24 00:00"), utc("2026-11-30 09:00"));
        assert_eq!(next("0 9 * * 0", Tz::UTC, "2026-11-24 00:00"), utc("2026-11-29 09:00"));
        assert_eq!(next("0 9 * * 7", Tz::UTC, "2026-11-24 00:00"), utc("2026-11-29 09:00"));
        assert_eq!(weekday_names("1-5").unwrap(), "MON,TUE,WED,THU,FRI");
        assert_eq!(weekday_names("5-7").unwrap(), "SUN,FRI,SAT");
        assert!(weekday_names("8").is_err());
    }

    /// Another library's opinion, where it is sound: hours and days away from the clock changes.
    #[test]
    fn croner_agrees() {
        for expression in ["0 9 1 * *", "*/15 8-17 * * 1-5", "0 0 29 2 *", "30 6 * 1,7 *", "0 12 13 * FRI", "5 4 * * 0", "0 22 31 * *"] {
            let oracle = croner::Cron::from_str(expression).unwrap();
            let (mut ours, mut theirs) = (utc("2026-11-24 10:00"), utc("2026-11-24 10:00").with_timezone(&Stockholm));
            for _ in 0..12 {
                ours = next(expression, Stockholm, &ours.format("%Y-%m-%d %H:%M").to_string());
                theirs = oracle.find_next_occurrence(&theirs, false).unwrap();
                assert_eq!(ours, theirs.with_timezone(&Utc), "{expression}");
            }
        }
    }

    #[test]
    fn what_never_comes_is_refused_with_a_reason() {
        for bad in ["0 9 31 2 *", "soon", "61 9 * * *", "0 9 * *", "2026-13-01 09:00", "2026-12-01 25:00", "0 9 * * 9", ""] {
            assert!(When::parse(bad).is_err(), "{bad}");
        }
    }
}
