//! What reaches a destination, and when: services, categories, quiet hours, a limit, a digest.
//!
//! Nothing that is routed to a destination is lost: what may not go out now waits on disk. Times are those of a wall clock in a
//! named zone, so that nine in the morning stays nine in the morning when clocks are changed.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use leakhound_rules::diagnostic::nearest;
use leakhound_rules::{Category, Millis, Severity};
use regex::Regex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::message::Message;

/// Which messages a destination gets, and when.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// About these services; all when empty.
    pub services: Vec<Pattern>,
    /// Of these categories; all when empty.
    pub categories: Vec<CategoryName>,
    /// When nothing is sent.
    pub quiet: Option<Quiet>,
    /// How many may be sent.
    pub limit: Option<Limit>,
    /// When several are sent as one.
    pub digest: Option<Digest>,
}

/// When a message may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// From this moment on.
    From(Timestamp),
    /// As part of the digest of this moment.
    Digest(Timestamp),
}

impl Route {
    /// Whether the message is for this destination at all.
    #[must_use]
    pub fn takes(&self, message: &Message) -> bool {
        let service = &message.context.service;
        let category = message.cause.as_ref().map(|cause| cause.category.as_str());
        let of_service = self.services.is_empty() || self.services.iter().any(|s| s.fits(service));
        // What has no category, a capture that could not be judged, is nobody's specialty: everybody hears of it.
        let of_category = self.categories.is_empty()
            || category.is_none_or(|name| self.categories.iter().any(|c| c.0.name() == name));
        of_service && of_category
    }

    /// When it may go out.
    #[must_use]
    pub fn timing(&self, severity: Severity, now: Timestamp) -> Timing {
        if let Some(digest) = &self.digest
            && !digest.except.covers(severity)
            && let Some(at) = digest.next(now)
        {
            return Timing::Digest(at);
        }
        let quiet = self.quiet.as_ref();
        let quiet = quiet.filter(|quiet| !quiet.except.covers(severity));
        Timing::From(quiet.and_then(|quiet| quiet.until(now)).unwrap_or(now))
    }
}

/// The name of a service, in which `*` stands for any characters.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text.is_empty() {
            return Err(D::Error::custom(
                "an empty name matches nothing; write a name, or `*` for all",
            ));
        }
        let pattern = format!("(?s)\\A{}\\z", regex::escape(&text).replace("\\*", ".*"));
        Regex::new(&pattern).map(Pattern).map_err(D::Error::custom)
    }
}

/// A category by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryName(pub Category);

impl<'de> Deserialize<'de> for CategoryName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Category::named(&text).map(CategoryName).ok_or_else(|| {
            let names = Category::ALL.iter().map(|category| category.name());
            D::Error::custom(unknown("category", &text, names))
        })
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("no {what} is called `{name}`; did you mean `{near}`?"),
        None => format!("no {what} is called `{name}`"),
    }
}

/// At most so many in a sliding span, `"10 per hour"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub count: u32,
    /// In which span, in milliseconds.
    pub span_ms: u64,
}

impl Limit {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: String| {
            format!("`{text}` is not a limit: {why}; write it as `10 per hour` or `3 per 30 min`")
        };
        let (count, span) = text
            .split_once(" per ")
            .ok_or_else(|| bad("` per ` is missing".to_owned()))?;
        let count: u32 = count
            .trim()
            .parse()
            .map_err(|_| bad("the count must be a whole number".to_owned()))?;
        let span = span.trim();
        // "per hour" means per one hour.
        let spelled = match span.starts_with(|c: char| c.is_ascii_digit()) {
            true => span.to_owned(),
            false => format!("1 {span}"),
        };
        let span: Millis = spelled.parse().map_err(|error| bad(format!("{error}")))?;
        if count == 0 || span.0 == 0 {
            return Err(bad("nothing would ever be sent".to_owned()));
        }
        Ok(Limit {
            count,
            span_ms: span.0,
        })
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Limit::parse(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// Which messages do not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Except(Option<Severity>);

impl Except {
    fn covers(self, severity: Severity) -> bool {
        self.0.is_some_and(|least| severity >= least)
    }
}

impl Default for Except {
    fn default() -> Self {
        Except(Some(Severity::Critical))
    }
}

impl<'de> Deserialize<'de> for Except {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text == "none" {
            return Ok(Except(None));
        }
        let known = ["none", "info", "warning", "critical"];
        Severity::named(&text)
            .map(|severity| Except(Some(severity)))
            .ok_or_else(|| D::Error::custom(unknown("severity", &text, known.into_iter())))
    }
}

/// Hours in which nothing is sent; what is planned then goes out at their end.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawQuiet")]
pub struct Quiet {
    from: Time,
    to: Time,
    days: Days,
    zone: TimeZone,
    except: Except,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuiet {
    from: Clock,
    to: Clock,
    #[serde(default)]
    days: Days,
    #[serde(default)]
    zone: Zone,
    #[serde(default)]
    except: Except,
}

impl TryFrom<RawQuiet> for Quiet {
    type Error = String;

    fn try_from(raw: RawQuiet) -> Result<Self, String> {
        if raw.from == raw.to {
            return Err(
                "quiet hours begin and end at the same time; nothing would ever be sent".to_owned(),
            );
        }
        Ok(Quiet {
            from: raw.from.0,
            to: raw.to.0,
            days: raw.days,
            zone: raw.zone.0,
            except: raw.except,
        })
    }
}

impl Quiet {
    /// The end of the quiet hours that `now` lies in.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned(self.zone.clone()).date();
        // Those of yesterday may last until this morning.
        [today.yesterday().ok()?, today]
            .into_iter()
            .find_map(|day| {
                if !self.days.hold(day) {
                    return None;
                }
                let last = match self.to > self.from {
                    true => day,
                    false => day.tomorrow().ok()?,
                };
                let begin = moment(&self.zone, day, self.from)?;
                let end = moment(&self.zone, last, self.to)?;
                (begin <= now && now < end).then_some(end)
            })
    }
}

/// Moments at which what has been gathered is sent as one message.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    at: OneOrMore,
    #[serde(default)]
    days: Days,
    #[serde(default)]
    zone: Zone,
    #[serde(default)]
    except: Except,
}

impl Digest {
    /// The first of them after `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned(self.zone.0.clone()).date();
        (0..=8)
            .filter_map(|ahead: i64| today.checked_add(ahead.days()).ok())
            .filter(|day| self.days.hold(*day))
            .flat_map(|day| self.at.0.iter().map(move |clock| (day, clock.0)))
            .filter_map(|(day, time)| moment(&self.zone.0, day, time))
            .filter(|at| *at > now)
            .min()
    }
}

/// A time that a change of clocks leaves out comes after the change; one that comes twice is the first.
fn moment(zone: &TimeZone, day: Date, time: Time) -> Option<Timestamp> {
    zone.to_timestamp(day.to_datetime(time)).ok()
}

/// `"08:00"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clock(Time);

impl<'de> Deserialize<'de> for Clock {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Time::strptime("%H:%M", &text).map(Clock).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is not a time of day; write it as `08:00`"
            ))
        })
    }
}

/// One time of day, or a list of them.
#[derive(Debug, Clone)]
struct OneOrMore(Vec<Clock>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            One(String),
            More(Vec<String>),
        }
        let texts = match Raw::deserialize(d) {
            Ok(Raw::One(text)) => vec![text],
            Ok(Raw::More(texts)) if !texts.is_empty() => texts,
            _ => {
                return Err(D::Error::custom(
                    "expected a time of day such as \"08:00\", or a list of them",
                ));
            }
        };
        let clock = |text: String| {
            use serde::de::IntoDeserializer;
            let text: serde::de::value::StringDeserializer<D::Error> = text.into_deserializer();
            Clock::deserialize(text)
        };
        texts
            .into_iter()
            .map(clock)
            .collect::<Result<_, _>>()
            .map(OneOrMore)
    }
}

/// A time zone by its name; that of the machine when absent.
#[derive(Debug, Clone)]
struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Zone(TimeZone::system())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        TimeZone::get(&text).map(Zone).map_err(|_| {
            let known: Vec<String> = jiff::tz::db().available().map(|n| n.to_string()).collect();
            let known = known.iter().map(String::as_str);
            D::Error::custom(unknown("time zone", &text, known))
        })
    }
}

/// Days of the week; all when none is named.
#[derive(Debug, Clone, Default)]
struct Days(Vec<Weekday>);

impl Days {
    fn hold(&self, day: Date) -> bool {
        self.0.is_empty() || self.0.contains(&day.weekday())
    }
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let day = |text: &String| {
            let found = DAYS.iter().find(|(name, _)| name == text);
            found.map(|(_, day)| *day).ok_or_else(|| {
                let names = DAYS.iter().map(|(name, _)| *name);
                D::Error::custom(unknown("day", text, names))
            })
        };
        let texts = Vec::<String>::deserialize(d)?;
        texts.iter().map(day).collect::<Result<_, _>>().map(Days)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        quiet: Option<Quiet>,
        digest: Option<Digest>,
        limit: Option<Limit>,
        #[serde(default)]
        categories: Vec<CategoryName>,
    }

    fn raw(text: &str) -> Result<Raw, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn quiet_hours_end_by_the_wall_clock() {
        let night =
            raw("quiet = { from = \"22:00\", to = \"07:00\", zone = \"Europe/Berlin\" }").unwrap();
        let quiet = night.quiet.unwrap();
        for (now, end) in [
            // Winter: one hour ahead of UTC.
            ("2026-11-30T20:59:59Z", None),
            ("2026-11-30T21:00:00Z", Some("2026-12-01T06:00:00Z")),
            ("2026-12-01T05:59:59Z", Some("2026-12-01T06:00:00Z")),
            ("2026-12-01T06:00:00Z", None),
            // The night in which clocks go forward is an hour shorter, and ends at seven all the same.
            ("2027-03-27T23:00:00Z", Some("2027-03-28T05:00:00Z")),
        ] {
            assert_eq!(quiet.until(at(now)), end.map(at), "{now}");
        }
        let weekend = raw(
            "quiet = { from = \"00:00\", to = \"23:59\", days = [\"sat\", \"sun\"], zone = \"UTC\", except = \"none\" }",
        )
        .unwrap();
        let route = Route {
            quiet: weekend.quiet,
            ..Route::default()
        };
        let saturday = at("2026-12-05T10:00:00Z");
        let end = at("2026-12-05T23:59:00Z");
        assert_eq!(
            route.timing(Severity::Critical, saturday),
            Timing::From(end)
        );
        let friday = at("2026-12-04T10:00:00Z");
        assert_eq!(
            route.timing(Severity::Warning, friday),
            Timing::From(friday)
        );
    }

    #[test]
    fn digests_come_at_their_times_and_what_is_critical_does_not_wait() {
        let parsed = raw(
            "digest = { at = [\"16:00\", \"08:00\"], days = [\"mon\", \"wed\"], zone = \"America/New_York\" }",
        )
        .unwrap();
        let route = Route {
            digest: parsed.digest,
            ..Route::default()
        };
        // 2026-11-30 is a Monday; New York is five hours behind UTC.
        for (now, next) in [
            ("2026-11-30T12:59:00Z", "2026-11-30T13:00:00Z"),
            ("2026-11-30T13:00:00Z", "2026-11-30T21:00:00Z"),
            ("2026-11-30T21:00:00Z", "2026-12-02T13:00:00Z"),
            ("2026-12-03T00:00:00Z", "2026-12-07T13:00:00Z"),
        ] {
            assert_eq!(
                route.timing(Severity::Warning, at(now)),
                Timing::Digest(at(next)),
                "{now}"
            );
        }
        let now = at("2026-11-30T12:00:00Z");
        assert_eq!(route.timing(Severity::Critical, now), Timing::From(now));
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, expected) in [
            ("limit = \"10 hour\"", "` per ` is missing"),
            ("limit = \"0 per hour\"", "nothing would ever be sent"),
            ("limit = \"ten per hour\"", "whole number"),
            ("limit = \"3 per fortnight\"", "is not a limit"),
            (
                "categories = [\"static-roots\"]",
                "did you mean `static-root`?",
            ),
            (
                "quiet = { from = \"22:00\", to = \"7\" }",
                "`7` is not a time of day",
            ),
            (
                "quiet = { from = \"22:00\", to = \"22:00\" }",
                "at the same time",
            ),
            (
                "quiet = { from = \"22:00\", to = \"07:00\", zone = \"Europe/Berln\" }",
                "did you mean `Europe/Berlin`?",
            ),
            (
                "quiet = { from = \"22:00\", to = \"07:00\", days = [\"mo\"] }",
                "did you mean `mon`?",
            ),
            (
                "quiet = { from = \"22:00\", to = \"07:00\", except = \"warn\" }",
                "no severity is called `warn`",
            ),
            (
                "quiet = { from = \"22:00\", until = \"07:00\" }",
                "unknown field `until`",
            ),
            ("digest = { at = 8 }", "expected a time of day"),
            ("digest = { at = [] }", "expected a time of day"),
        ] {
            let error = raw(text).err().unwrap();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let named = raw("categories = [\"static-root\"]").unwrap().categories;
        assert_eq!(named[0].0.name(), "static-root");
        let limit = raw("limit = \"3 per 30 min\"").unwrap().limit.unwrap();
        assert_eq!((limit.count, limit.span_ms), (3, 1_800_000));
    }
}
