//! The options of ProcDump, read as its users mean them: `leakhound capture -ma -m 1500 -s 5 -n 3 4711 /dumps`.
//!
//! ProcDump writes words after one dash, which clap does not know; so they become ours before clap sees them. What stands
//! behind two dashes is ours already and passes. Where ProcDump for Windows and for Linux differ, Linux counts:
//! `-m` is resident memory and swap, `-c` is of one core.

use crate::exit::Failure;
use std::ffi::OsString;

/// What an option becomes.
enum Meaning {
    /// `--kind` and this.
    Kind(&'static str),
    /// A condition: expression, comparison, unit; its value may be a list of steps.
    Limit(&'static str, &'static str, &'static str),
    /// A condition about one heap of the runtime or all: `100`, `gen2:100`, `loh:100,200`.
    GcMemory,
    /// How long a condition must hold; without one, the time between two captures.
    Seconds,
    /// This option of ours, with the value in this unit.
    Value(&'static str, &'static str),
    /// This option of ours.
    Flag(&'static str),
    /// Nothing: it is so already. A number may follow.
    AsIs,
    /// It makes no sense here; what does.
    NotHere(&'static str),
}

use Meaning::{AsIs, Flag, GcMemory, Kind, Limit, NotHere, Seconds, Value};

/// Every option of ProcDump for Windows (12) and for Linux (3).
static OPTIONS: &[(&str, Meaning)] = &[
    ("ma", Kind("full")),
    ("mp", Kind("heap")),
    ("mt", Kind("structure")),
    (
        "mm",
        NotHere("a mini dump has no heap to look into: leave it out, or write --kind facts"),
    ),
    ("mc", NotHere("kinds have names here: --kind")),
    ("md", NotHere("kinds have names here: --kind")),
    ("mk", NotHere("the kernel is not captured")),
    ("m", Limit("rss + swap", ">=", " MiB")),
    ("ml", Limit("rss + swap", "<", " MiB")),
    ("c", Limit("cpu", ">=", "%")),
    ("cl", Limit("cpu", "<", "%")),
    ("tc", Limit("threads", ">=", "")),
    ("fc", Limit("fds", ">=", "")),
    ("gcm", GcMemory),
    ("s", Seconds),
    ("n", Value("--times", "")),
    ("pf", Value("--every", " ms")),
    ("at", Value("--max-time", " s")),
    ("dc", Value("--reason", "")),
    ("w", Flag("--wait")),
    ("o", Flag("--overwrite")),
    ("r", AsIs),
    ("a", AsIs),
    ("u", AsIs),
    ("64", AsIs),
    ("accepteula", AsIs),
    ("log", NotHere("write --log debug")),
    (
        "p",
        NotHere("write --when with a fact that `leakhound rules facts` lists as live"),
    ),
    (
        "pl",
        NotHere("write --when with a fact that `leakhound rules facts` lists as live"),
    ),
    (
        "pc",
        NotHere("write --when with a fact that `leakhound rules facts` lists as live"),
    ),
    (
        "pcl",
        NotHere("write --when with a fact that `leakhound rules facts` lists as live"),
    ),
    (
        "gcgen",
        NotHere("write --when, such as --when 'managed.gen2 > 1 GB'"),
    ),
    ("e", NotHere(CRASHES)),
    ("f", NotHere(CRASHES)),
    ("fx", NotHere(CRASHES)),
    ("g", NotHere(CRASHES)),
    ("b", NotHere(CRASHES)),
    ("l", NotHere(CRASHES)),
    ("ld", NotHere(CRASHES)),
    ("ud", NotHere(CRASHES)),
    ("ct", NotHere(CRASHES)),
    ("et", NotHere(CRASHES)),
    ("t", NotHere(CRASHES)),
    ("sig", NotHere(CRASHES)),
    ("i", NotHere(CRASHES)),
    ("wer", NotHere(CRASHES)),
    (
        "x",
        NotHere("start the program yourself, and wait for it by name with -w"),
    ),
    ("k", NotHere("no process is ever ended by Leakhound")),
    (
        "cancel",
        NotHere("press Ctrl-C in the other window, or send it SIGTERM"),
    ),
    ("pgid", NotHere("give the id or the name of one process")),
    (
        "restrack",
        NotHere("native growth is seen without it: capture twice, and compare"),
    ),
    (
        "sr",
        NotHere("native growth is seen without it: capture twice, and compare"),
    ),
];

const CRASHES: &str = "no debugger is attached here. Crashes: set DOTNET_DbgEnableMiniDump=1 and \
                       DOTNET_DbgMiniDumpName for the service, and let [adopt] take the dumps in";

/// Seconds that a condition must hold, unless `-s` says otherwise; ProcDump's own number.
const SUSTAINED_S: &str = "10";

/// Turns ProcDump's options behind `capture` into ours; all other command lines pass as they are.
pub fn translate(arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let Some(at) = capture_at(&arguments) else {
        return Ok(arguments);
    };
    let (before, own) = arguments.split_at(at + 1);
    let own = own.iter().map(|a| a.to_string_lossy().into_owned());
    let own: Vec<String> = own.collect();
    let is_ours = |a: &String| option_name(a).is_none();
    if own.iter().all(is_ours) {
        return Ok(arguments);
    }
    let mut out = before.to_vec();
    let translated = Translation::of(&own).map_err(|why| Failure::usage(anyhow::anyhow!(why)))?;
    out.extend(translated.into_iter().map(OsString::from));
    Ok(out)
}

/// Where `capture` stands, when it is the subcommand.
fn capture_at(arguments: &[OsString]) -> Option<usize> {
    let mut words = arguments.iter().enumerate().skip(1);
    while let Some((at, word)) = words.next() {
        match word.to_str()? {
            "capture" => return Some(at),
            "--log" => drop(words.next()),
            word if word.starts_with("--") => {}
            _ => return None,
        }
    }
    None
}

/// `ma` of `-ma` and of `/ma`-like words with one dash; help, version and numbers are not ProcDump's.
fn option_name(argument: &str) -> Option<&str> {
    let name = argument.strip_prefix('-')?;
    let is_other = name.is_empty() || name.starts_with('-') || ["h", "V"].contains(&name);
    (!is_other).then_some(name)
}

/// A command line that is being translated.
#[derive(Default)]
struct Translation {
    out: Vec<String>,
    /// Conditions, without how long they must hold.
    conditions: Vec<String>,
    /// The option whose value was a list of steps.
    steps: Option<String>,
    seconds: Option<String>,
    has_times: bool,
}

impl Translation {
    fn of(arguments: &[String]) -> Result<Vec<String>, String> {
        let mut this = Self::default();
        let mut rest = arguments.iter().peekable();
        let mut conditions_of_ours = false;
        while let Some(argument) = rest.next() {
            let Some(name) = option_name(argument) else {
                conditions_of_ours |= argument.starts_with("--when");
                this.out.push(argument.clone());
                continue;
            };
            if name == "?" {
                this.out.push("--help".to_owned());
                continue;
            }
            let found = OPTIONS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            let Some((_, meaning)) = found else {
                return Err(unknown(name));
            };
            let mut value = |what: &str| {
                let next = rest.next_if(|v| option_name(v).is_none() && !v.starts_with("--"));
                next.cloned()
                    .ok_or_else(|| format!("-{name} needs {what} behind it"))
            };
            match meaning {
                Kind(kind) => this.out.extend(["--kind".to_owned(), (*kind).to_owned()]),
                Limit(fact, comparison, unit) => {
                    let text = value("a number")?;
                    this.limit(name, &text, &format!("{fact} {comparison} "), unit)?;
                }
                GcMemory => {
                    let text = value("megabytes")?;
                    this.gc_memory(&text)?;
                }
                Seconds => this.seconds = Some(number(name, &value("seconds")?)?),
                Value(option, unit) => {
                    let text = value("a value")?;
                    let text = match *option {
                        "--reason" => text,
                        _ => number(name, &text)?,
                    };
                    this.has_times |= *option == "--times";
                    this.out
                        .extend([(*option).to_owned(), format!("{text}{unit}")]);
                }
                Flag(option) => this.out.push((*option).to_owned()),
                AsIs => {
                    // `-r 3`: how many clones at a time; one is what there is.
                    if name.eq_ignore_ascii_case("r") {
                        rest.next_if(|v| matches!(v.as_str(), "1" | "2" | "3" | "4" | "5"));
                    }
                }
                NotHere(instead) => {
                    return Err(format!("-{name} of ProcDump is not for here: {instead}"));
                }
            }
        }
        this.finish(conditions_of_ours)
    }

    fn limit(&mut self, name: &str, text: &str, start: &str, unit: &str) -> Result<(), String> {
        let steps: Vec<&str> = text.split(',').collect();
        if steps.len() > 1
            && let Some(other) = self.steps.replace(format!("-{name}"))
        {
            return Err(format!(
                "both {other} and -{name} have a list of steps; only one condition can"
            ));
        }
        for step in steps {
            let step = number(name, step)?;
            self.conditions.push(format!("{start}{step}{unit}"));
        }
        Ok(())
    }

    fn gc_memory(&mut self, text: &str) -> Result<(), String> {
        let (heap, list) = text.split_once(':').unwrap_or(("", text));
        let fact = match heap.to_ascii_lowercase().as_str() {
            "" => "managed.committed",
            "gen0" | "0" => "managed.gen0",
            "gen1" | "1" => "managed.gen1",
            "gen2" | "2" => "managed.gen2",
            "loh" => "managed.loh",
            "poh" => "managed.poh",
            other => {
                return Err(format!(
                    "-gcm knows the heaps gen0, gen1, gen2, loh and poh, not `{other}`"
                ));
            }
        };
        self.limit("gcm", list, &format!("{fact} >= "), " MiB")
    }

    fn finish(mut self, conditions_of_ours: bool) -> Result<Vec<String>, String> {
        if let Some(steps) = &self.steps {
            if self.has_times {
                return Err(format!(
                    "-n makes no sense with the list of {steps}: each step is captured once"
                ));
            }
            let own = self.conditions.len();
            let listed = self
                .conditions
                .iter()
                .filter(|c| same_fact(c, &self.conditions[0]));
            if listed.count() != own || conditions_of_ours {
                return Err(format!(
                    "the steps of {steps} are awaited one after the other and cannot be mixed with other conditions"
                ));
            }
            self.out.push("--in-turn".to_owned());
        }
        let seconds = self.seconds.take();
        if self.conditions.is_empty() {
            if let Some(seconds) = seconds {
                self.out
                    .extend(["--apart".to_owned(), format!("{seconds} s")]);
            }
            return Ok(self.out);
        }
        let seconds = seconds.unwrap_or_else(|| SUSTAINED_S.to_owned());
        for condition in self.conditions {
            let sustained = match seconds.as_str() {
                "0" => condition,
                seconds => format!("{condition} for {seconds} s"),
            };
            self.out.extend(["--when".to_owned(), sustained]);
        }
        Ok(self.out)
    }
}

fn same_fact(a: &str, b: &str) -> bool {
    let fact = |c: &str| c.split(['<', '>']).next().map(str::to_owned);
    fact(a) == fact(b)
}

/// A whole number of something.
fn number(name: &str, text: &str) -> Result<String, String> {
    match text.trim().parse::<u32>() {
        Ok(n) => Ok(n.to_string()),
        Err(_) => Err(format!(
            "-{name} is followed by `{text}`, and a whole number was expected"
        )),
    }
}

fn unknown(name: &str) -> String {
    let known = OPTIONS.iter().map(|(n, _)| *n);
    let near = leakhound_rules::diagnostic::nearest(name, known);
    let near = near.map_or_else(String::new, |n| format!(" (is -{n} meant?)"));
    format!(
        "ProcDump has no option -{name}{near}; options of Leakhound have two dashes: see `leakhound capture --help`"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(line: &str) -> Result<String, String> {
        let words = line.split(' ').map(OsString::from).collect();
        let translated = translate(words).map_err(|f| f.to_string())?;
        let words: Vec<String> = translated
            .iter()
            .map(|w| w.to_str().unwrap().to_owned())
            .collect();
        Ok(words.join("|"))
    }

    #[test]
    fn what_operators_type_becomes_what_they_mean() {
        for (line, expected) in [
            (
                "leakhound capture -ma 4711",
                "leakhound|capture|--kind|full|4711",
            ),
            (
                "leakhound capture -mp -o cart /dumps",
                "leakhound|capture|--kind|heap|--overwrite|cart|/dumps",
            ),
            (
                "leakhound --log debug capture -m 1500 -s 5 -n 3 4711",
                "leakhound|--log|debug|capture|--times|3|4711|--when|rss + swap >= 1500 MiB for 5 s",
            ),
            (
                "leakhound capture -m 100,200 4711",
                "leakhound|capture|4711|--in-turn|--when|rss + swap >= 100 MiB for 10 s|--when|rss + swap >= 200 MiB for 10 s",
            ),
            (
                "leakhound capture -cl 5 -c 90 -u -s 0 -w cart",
                "leakhound|capture|--wait|cart|--when|cpu < 5%|--when|cpu >= 90%",
            ),
            (
                "leakhound capture -n 3 -s 5 4711",
                "leakhound|capture|--times|3|4711|--apart|5 s",
            ),
            (
                "leakhound capture -r 2 -a -at 60 -accepteula -64 4711",
                "leakhound|capture|--max-time|60 s|4711",
            ),
            (
                "leakhound capture -gcm LOH:300 -tc 500 4711",
                "leakhound|capture|4711|--when|managed.loh >= 300 MiB for 10 s|--when|threads >= 500 for 10 s",
            ),
            (
                "leakhound capture 4711 --kind heap",
                "leakhound|capture|4711|--kind|heap",
            ),
            ("leakhound triage -o x core", "leakhound|triage|-o|x|core"),
            ("leakhound capture -h", "leakhound|capture|-h"),
        ] {
            assert_eq!(of(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn every_condition_is_one_that_the_language_reads() {
        for line in [
            "-m 100,200 1",
            "-ml 5 1",
            "-c 90 1",
            "-cl 5 1",
            "-tc 9 1",
            "-fc 9 1",
            "-gcm 100 1",
            "-gcm gen2:7 -s 0 1",
        ] {
            let translated = of(&format!("x capture {line}")).unwrap();
            let conditions = translated.split("--when|").skip(1);
            let mut n = 0;
            for condition in conditions {
                let condition = condition.split('|').next().unwrap();
                leakhound_rules::Trigger::parse(condition).unwrap();
                n += 1;
            }
            assert!(n > 0, "{translated}");
        }
    }

    #[test]
    fn what_makes_no_sense_says_what_does() {
        for (line, expected) in [
            ("-mm 1", "--kind facts"),
            ("-e 1 1", "DOTNET_DbgEnableMiniDump"),
            ("-k 1", "no process is ever ended"),
            ("-m lots 1", "`lots`"),
            ("-m -ma 1", "-m needs a number"),
            ("-mo 1", "no option -mo"),
            ("-m 1,2 -n 2 1", "each step is captured once"),
            ("-m 1,2 -c 5 1", "cannot be mixed"),
            ("-m 1,2 -ml 2,1 1", "only one condition"),
            ("-gcm gen7:5 1", "not `gen7`"),
            ("-cancel 1", "Ctrl-C"),
        ] {
            let why = of(&format!("leakhound capture {line}")).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
    }
}
