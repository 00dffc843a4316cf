//! `leakhound capture`: a running process, now or when a condition holds.

mod file_name;
mod wait;

use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit};
use crate::open::{self, DEFAULT_CONFIG};
use crate::terminal;
use crate::triage::{OutputFormat, exit_of, print};
use crate::walker::ParserChild;
use anyhow::{Context, anyhow};
use clap::ValueEnum;
use file_name::FileName;
use leakhound_archive::manifest::TriggerRecord;
use leakhound_archive::{Archive, Bundle, Manifest};
use leakhound_collector::capture::{Cancel, Progress, Step};
use leakhound_collector::config::{Kind, MethodChoice, Span, TriggerConfig};
use leakhound_collector::identity::Identity;
use leakhound_collector::sample::{self, Facts};
use leakhound_collector::seal::{self, Place, Request};
use leakhound_collector::vigil;
use leakhound_rules::units::{format_bytes, format_duration};
use leakhound_rules::{Millis, RuleSet};
use leakhound_triage::service_rules::ServiceRules;
use leakhound_triage::worker;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Capture a running process, now or when a condition holds: its threads stand still for milliseconds, and the dump is
/// compressed from the first byte.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  leakhound capture 4711                       into the archive, and diagnose it
  leakhound capture Shop.Cart                  by name: assembly, executable or comm
  leakhound capture 4711 --out . --no-triage   only the bundle, here
  leakhound capture 4711 --when 'private_bytes > 1.5 GB for 30 s'

As with ProcDump (its words after one dash, Leakhound's after two; the meanings are those of ProcDump for Linux):
  leakhound capture -ma 4711 /dumps            every readable page, archived in /dumps
  leakhound capture -m 1500 -s 5 -n 3 Cart     three times, each after 5 s with 1500 MB or more
  leakhound capture -m 500,1000,2000 Cart      once at each step
  leakhound capture -w -c 90 Cart /d/PROCESSNAME_PID_YYMMDD_HHMMSS.dmp
  -ma   full dump             -m N   memory (resident + swap) of N MB or more; N,N,… once at each
  -mp   heap dump (default)   -ml N  memory below N MB
  -mt   structure only        -c N   CPU of N% or more, 100 is one core      -cl N  CPU below N%
  -s N  held for N seconds (10); without a condition: N seconds apart        -n N   so many captures
  -w    wait for the process to start      -o    replace the file            -at N  give up after N seconds
  -tc N threads   -fc N files   -gcm [gen2:]N  managed heap, MB              -pf N  a look each N ms
  -r, -a, -u and -64 are how it works anyway. The dump is zstd: `zstd -d` gives what debuggers open.
Ctrl-C ends the wait or the capture at once and lets the process go.")]
pub struct Args {
    /// Process id, or a name that only one process has.
    #[arg(value_name = "PROCESS", required_unless_present = "process")]
    target: Option<String>,
    /// Folder to archive in, or a file's name there; as --out and --file.
    #[arg(value_name = "FOLDER|FILE", conflicts_with_all = ["out", "file"])]
    place: Option<PathBuf>,
    /// Process by name, when a number is its name.
    #[arg(long, conflicts_with_all = ["target", "place"])]
    process: Option<String>,
    /// Folder to archive in; default: the configuration's archive, or the current folder when there is none.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Give the dump this name in that folder, too; PROCESSNAME, PID, YYMMDD and HHMMSS are replaced, `.zst` is added.
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Replace a file of that name.
    #[arg(long)]
    overwrite: bool,
    /// Service to archive it under, and whose parameters of rules (`[service.rules.RULE]`) count; default: the process's name.
    #[arg(long)]
    service: Option<String>,
    /// What the dump holds.
    #[arg(long, value_enum, default_value_t = DumpKind::Heap)]
    kind: DumpKind,
    /// How it is taken; default: the configuration's choice, which is the first that works.
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// Capture when this holds, such as `private_bytes > 1.5 GB for 30 s`; the first of several. The language is that of
    /// triggers; `leakhound rules facts` lists what it may name.
    #[arg(long, value_name = "CONDITION")]
    when: Vec<String>,
    /// Await the conditions one after the other, a capture at each.
    #[arg(long, requires = "when", conflicts_with = "times")]
    in_turn: bool,
    /// How many captures to take.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    times: u32,
    /// Time between captures that have no condition.
    #[arg(long, value_name = "SPAN", default_value = "10 s")]
    apart: Millis,
    /// Time between two looks at a condition.
    #[arg(long, value_name = "SPAN", default_value = "1 s")]
    every: Millis,
    /// Wait for the process to start, when it does not run yet.
    #[arg(long)]
    wait: bool,
    /// Give a capture up after this time; default: `capture.max_time` of the configuration.
    #[arg(long, value_name = "SPAN")]
    max_time: Option<Millis>,
    /// Say what it would cost (pause, disk, memory), and capture nothing.
    #[arg(long)]
    predict: bool,
    /// Why, for the record.
    #[arg(long, default_value = "asked for by hand")]
    reason: String,
    /// Do not diagnose it.
    #[arg(long)]
    no_triage: bool,
    /// How to print the diagnosis.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    /// The agent's configuration, for its archive, its `[capture]` limits and its rules.
    #[arg(long, value_name = "FILE", env = "LEAKHOUND_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DumpKind {
    /// All writable memory and module metadata.
    Heap,
    /// Every readable page.
    Full,
    /// As heap, without the contents of strings and primitive arrays.
    Structure,
    /// No dump: the heap is walked in a copy-on-write copy, and the fact sheet is kept.
    Facts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// The first that works of those below.
    Auto,
    /// Stopped for milliseconds, written from a copy-on-write copy.
    Snapshot,
    /// Stopped while the memory is read.
    StopAndStream,
    /// The runtime's own dump, asked for over its diagnostics socket.
    Runtime,
}

impl DumpKind {
    const fn kind(self) -> Kind {
        match self {
            Self::Heap => Kind::Heap,
            Self::Full => Kind::Full,
            Self::Structure => Kind::Structure,
            Self::Facts => Kind::Facts,
        }
    }
}

/// What all captures of one call share.
struct Session<'a> {
    args: &'a Args,
    config: Config,
    archive: Archive,
    /// Name of the dump's own file.
    file: Option<FileName>,
    stopped: Arc<AtomicBool>,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let config = configuration(args)?;
    for condition in &args.when {
        vigil::check(condition).or_usage()?;
    }
    let stopped = open::cancel_on_signal();
    let target = find(args, &stopped)?;
    let (folder, file) = match (&args.place, &args.out) {
        (Some(place), _) => FileName::split(place),
        (None, Some(out)) => (out.clone(), None),
        (None, None) => (config.archive.location.clone(), None),
    };
    let file = match &args.file {
        Some(name) => Some(FileName::new(name).ok_or_else(|| {
            Failure::usage(anyhow!(
                "--file {name}: a name without folders is expected; --out names the folder"
            ))
        })?),
        None => file,
    };
    if file.is_some() && args.kind == DumpKind::Facts {
        return Err(Failure::usage(anyhow!(
            "a capture of kind `facts` has no dump that could be called by a name"
        )));
    }
    let session = Session {
        args,
        archive: Archive::open_or_create(&folder).or_input()?,
        config,
        file,
        stopped,
    };
    if args.predict {
        return session.predict(&target);
    }
    session.run(&target)
}

fn configuration(args: &Args) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(path) => Config::load(path).or_usage()?,
        None if PathBuf::from(DEFAULT_CONFIG).is_file() => {
            Config::load(DEFAULT_CONFIG.as_ref()).or_usage()?
        }
        None => {
            let mut config = Config::default();
            config.archive.location = PathBuf::from(".");
            config
        }
    };
    if let Some(method) = args.method {
        config.capture.method = match method {
            Method::Auto => MethodChoice::Auto,
            Method::Snapshot => MethodChoice::Snapshot,
            Method::StopAndStream => MethodChoice::StopAndStream,
            Method::Runtime => MethodChoice::Runtime,
        };
    }
    if let Some(limit) = args.max_time {
        config.capture.max_time = span(limit);
    }
    Ok(config)
}

const fn span(ms: Millis) -> Span {
    Span(Duration::from_millis(ms.0))
}

fn find(args: &Args, stopped: &AtomicBool) -> Result<Identity, Failure> {
    let name = args.target.as_ref().or(args.process.as_ref());
    let name = name.map(String::as_str).unwrap_or_default();
    let mut found = match &args.process {
        Some(name) => wait::by_name(name),
        None => wait::named(name),
    };
    match found.len() {
        1 => Ok(found.remove(0)),
        0 if args.wait => wait::for_process(name, stopped),
        0 if name.parse::<u32>().is_ok() => Err(Failure::input(anyhow!(
            "process {name} cannot be looked at; is it running, and may you see it?"
        ))),
        0 => Err(Failure::input(anyhow!(
            "no process is called `{name}`; `leakhound doctor` lists the .NET processes it sees, and --wait waits for one to start"
        ))),
        n => {
            let pids: Vec<String> = found.iter().map(|p| p.pid.to_string()).collect();
            Err(Failure::input(anyhow!(
                "{n} processes are called `{name}`: {}; give the process id",
                pids.join(", ")
            )))
        }
    }
}

impl Session<'_> {
    /// Takes all captures; the exit code is the last one's.
    fn run(&self, target: &Identity) -> Result<Exit, Failure> {
        let conditions: Vec<TriggerConfig> = self
            .args
            .when
            .iter()
            .map(|when| TriggerConfig {
                name: "condition".to_owned(),
                when: when.as_str().into(),
                pair: None,
            })
            .collect();
        let rounds: Vec<&[TriggerConfig]> = if self.args.in_turn {
            conditions.chunks(1).collect()
        } else {
            vec![&conditions[..]; self.args.times as usize]
        };
        let mut exit = Exit::Ok;
        for (index, round) in rounds.into_iter().enumerate() {
            let (trigger, facts) = if round.is_empty() {
                let until = Instant::now() + Duration::from_millis(self.args.apart.0);
                if index > 0 && !wait::pause(until, &self.stopped) {
                    return Err(Failure::input(anyhow!("stopped after {index} captures")));
                }
                (self.by_hand(), sample::once(target).unwrap_or_default())
            } else {
                let every = span(self.args.every);
                match wait::for_condition(target, round, every, &self.stopped)? {
                    Some(held) => held,
                    None if index > 0 => {
                        eprintln!("process {} ended after {index} captures", target.pid);
                        return Ok(exit);
                    }
                    None => {
                        return Err(Failure::input(anyhow!(
                            "process {} ended before the condition held; nothing was captured",
                            target.pid
                        )));
                    }
                }
            };
            exit = self.capture(target, trigger, facts)?;
        }
        Ok(exit)
    }

    fn by_hand(&self) -> TriggerRecord {
        TriggerRecord {
            name: "manual".to_owned(),
            when: self.args.reason.clone(),
            by: "operator".to_owned(),
            ..TriggerRecord::default()
        }
    }

    fn capture(
        &self,
        target: &Identity,
        trigger: TriggerRecord,
        facts: Facts,
    ) -> Result<Exit, Failure> {
        let args = self.args;
        let named = self.file.as_ref().map(|file| self.free_name(file, target));
        let named = named.transpose()?;
        let request = Request {
            target: target.clone(),
            service: args.service.clone().unwrap_or_else(|| target.name.clone()),
            kind: args.kind.kind(),
            trigger,
            pair: None,
            facts,
        };
        let (bundle, manifest) = self.take(&request)?;
        if !matches!(args.format, OutputFormat::Json) {
            tell(&bundle, &manifest);
        }
        if let Some(path) = named {
            self.name_dump(&bundle, &path)?;
        }
        if args.no_triage {
            return Ok(Exit::Ok);
        }
        let triage = &self.config.triage;
        let rules = open::rules(triage.rules.as_deref())
            .and_then(|rules| open::service_rules(rules, Some(&self.config)))
            .unwrap_or_else(|problem| {
                eprintln!("warning: {problem}; the shipped rules are used");
                ServiceRules::from(RuleSet::shipped())
            });
        let line = terminal::Line::start("reading the heap");
        let judged = worker::work(
            &self.archive,
            &bundle,
            rules.of(&request.service),
            &triage.limits(),
            &self.stopped,
            &mut |step| line.step(step),
        );
        line.done();
        let judged = judged.or_input()?;
        print(&judged, args.format, None)?;
        Ok(exit_of(&judged.diagnosis))
    }

    fn free_name(&self, file: &FileName, target: &Identity) -> Result<PathBuf, Failure> {
        let name = file.of(target, &jiff::Zoned::now());
        let path = self.archive.location().join(name);
        if path.exists() && !self.args.overwrite {
            return Err(Failure::usage(anyhow!(
                "{} exists; -o (--overwrite) replaces it",
                path.display()
            )));
        }
        Ok(path)
    }

    /// The dump's second name: no byte is written twice, and each name may be removed without the other.
    fn name_dump(&self, bundle: &Bundle, path: &Path) -> Result<(), Failure> {
        let Some(dump) = bundle.dump_path().or_input()? else {
            eprintln!(
                "warning: there is no dump that could be called {}",
                path.display()
            );
            return Ok(());
        };
        if path.exists() && self.args.overwrite {
            std::fs::remove_file(path)
                .with_context(|| format!("cannot replace {}", path.display()))
                .or_input()?;
        }
        std::fs::hard_link(&dump, path)
            .or_else(|_| std::fs::copy(&dump, path).map(drop))
            .with_context(|| format!("cannot call the dump {}", path.display()))
            .or_input()?;
        eprintln!("{}", path.display());
        Ok(())
    }

    fn take(&self, request: &Request) -> Result<(Bundle, Manifest), Failure> {
        let line = terminal::Line::start(&format!("capturing {}", request.target.name));
        let cancel = Cancel::default();
        // The capture polls its own flag; a signal raises ours.
        let finished = Arc::new(AtomicBool::new(false));
        let (watched, until, raised) = (cancel.clone(), finished.clone(), self.stopped.clone());
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                if raised.load(Ordering::Relaxed) {
                    watched.cancel();
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let walker = ParserChild::new(self.config.triage.limits());
        let result = seal::capture(self.place(&walker), request, &cancel, &mut |progress| {
            line.step(&as_step(progress));
        });
        finished.store(true, Ordering::Relaxed);
        line.done();
        result.or_input()
    }

    fn place<'a>(&'a self, walker: &'a ParserChild) -> Place<'a> {
        Place {
            archive: &self.archive,
            queue: None,
            config: &self.config.capture,
            walker: Some(walker),
        }
    }

    fn predict(&self, target: &Identity) -> Result<Exit, Failure> {
        let walker = ParserChild::new(self.config.triage.limits());
        let place = self.place(&walker);
        let forecast = seal::forecast(place, target, self.args.kind.kind()).or_input()?;
        println!("{} ({}) by {}", target.name, target.pid, forecast.method);
        let pause = format_duration(forecast.cost.pause_ms);
        println!("  it stands still for about  {pause}");
        let bytes = |n: u64| format_bytes(n as f64);
        println!(
            "  memory that is read        {}",
            bytes(forecast.cost.memory_bytes)
        );
        println!(
            "  on the disk, at most       {}",
            bytes(forecast.cost.stored_bytes)
        );
        if let Some(copy) = forecast.cost.copy_bytes {
            println!(
                "  memory that exists twice   {} at most, meanwhile",
                bytes(copy)
            );
        }
        for reason in forecast.reasons {
            println!("  {reason}");
        }
        Ok(Exit::Ok)
    }
}

fn as_step(progress: Progress) -> leakhound_triage::child::Progress {
    let stage = match progress.step {
        Step::Stopping => "stopping its threads",
        Step::Writing => "copying memory; the process stands still",
        Step::Walking => "walking the heap of the snapshot; the process runs",
        Step::Copying => "copying the snapshot; the process runs",
        Step::Resumed => "the process runs again; copying files",
        Step::Sealing => "sealing",
    };
    leakhound_triage::child::Progress {
        stage: stage.to_owned(),
        share: progress.done_bytes as f64 / progress.total_bytes.max(1) as f64,
    }
}

fn tell(bundle: &Bundle, manifest: &Manifest) {
    let sizes = manifest.dump.as_ref().map_or_else(String::new, |dump| {
        format!(
            "{} from {}, ",
            format_bytes(dump.stored_bytes as f64),
            format_bytes(dump.raw_bytes as f64)
        )
    });
    let pause = manifest.pause_ms.map_or_else(String::new, |pause_ms| {
        format!("stopped for {}, ", format_duration(pause_ms))
    });
    eprintln!("{sizes}{pause}{}", bundle.path().display());
    for warning in &manifest.warnings {
        eprintln!("warning: {warning}");
    }
}
