//! `leakhound demo`: the main job on a real leaking service, before your eyes.
//!
//! Nothing here is staged: a real .NET runtime runs a real service, a second copy of this program is the agent, and the
//! diagnosis arrives over HTTP at a small inbox on loopback, signed, as it would at a chat.

use crate::exit::{Exit, Failure, OrExit};
use crate::open;
use crate::triage::{OutputFormat, print};
use anyhow::Context;
use leakhound_archive::bundle::REPORT_FILE;
use leakhound_archive::{Archive, Bundle};
use leakhound_rules::RuleSet;
use leakhound_rules::units::format_bytes;
use leakhound_testbed::demo::{Leak, demo_service};
use leakhound_testbed::{DotnetRoot, Progress, Service, Version, runtimes};
use leakhound_triage::case::{Case, read_sheet};
use leakhound_triage::diagnose::{diagnose, earlier_sheets};
use leakhound_triage::notify::Inbox;
use leakhound_triage::notify::inbox::Received;
use leakhound_triage::worker::{WalkLimits, sheet_of};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Private bytes at which the demo captures: once early, and again when it has grown.
const FIRST_MB: u64 = 170;
const SECOND_MB: u64 = 300;
/// Both diagnoses must have arrived by then.
const PATIENCE: Duration = Duration::from_secs(180);
/// Where the signature's secret is kept for the agent; a demo's secret guards nothing.
const SECRET_VARIABLE: &str = "LEAKHOUND_DEMO_SECRET";

/// A heap core of the same service on .NET 8, for machines without a network.
const BUNDLED_DUMP: &[u8] = include_bytes!("../tests/fixtures/shop-pricing.core.zst");

/// See it work: a leaking service, watched, captured at a threshold, diagnosed, delivered to a small local inbox.
///
/// Needs pip to get a .NET runtime the first time (about 40 MB); offline it uses a real dump that comes with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the demo keeps its archive, inbox and log.
    #[arg(long, value_name = "DIR", default_value = "leakhound-demo")]
    folder: PathBuf,
    /// Do not fetch anything: diagnose the dump that comes with the program.
    #[arg(long)]
    offline: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let started = Instant::now();
    std::fs::create_dir_all(&args.folder)
        .with_context(|| format!("cannot create {}", args.folder.display()))
        .or_input()?;
    let folder = args.folder.canonicalize().or_input()?;
    let cancel = open::cancel_on_signal();
    let mut tale = Tale::new(started);
    let root = if args.offline {
        None
    } else {
        tale.step("A .NET runtime");
        match runtime(&mut tale) {
            Ok(root) => Some(root),
            Err(why) => {
                tale.done(&format!("none can be had here: {why}"));
                None
            }
        }
    };
    match root {
        Some(root) => live(&folder, &root, &cancel, &mut tale),
        None => offline(&folder, &cancel, &mut tale),
    }
}

fn runtime(tale: &mut Tale) -> Result<DotnetRoot, leakhound_testbed::Error> {
    let root = runtimes::get_with(Version::Net8, &mut |news| match news {
        Progress::Step(what) => tale.note(&what),
        Progress::Bytes { done, total } => tale.note(&format!(
            "{} of {}",
            format_bytes(done as f64),
            format_bytes(total as f64)
        )),
    })?;
    tale.done(&format!(".NET {}", root.version().exact()));
    Ok(root)
}

/// Kills and reaps the agent when the demo ends, however it ends.
struct AgentProcess(Child);

impl Drop for AgentProcess {
    fn drop(&mut self) {
        #[cfg(unix)]
        // SAFETY: the child is ours and not yet reaped, so the id is its own.
        unsafe {
            libc::kill(self.0.id().cast_signed(), libc::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn live(
    folder: &Path,
    root: &DotnetRoot,
    cancel: &Arc<AtomicBool>,
    tale: &mut Tale,
) -> Result<Exit, Failure> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .or_input()?;
    let archive = folder.join("archive");
    // A demo starts from nothing: earlier captures would be of another process.
    if archive.exists() {
        std::fs::remove_dir_all(&archive)
            .with_context(|| format!("cannot remove {}", archive.display()))
            .or_input()?;
    }
    let secret = format!("leakhound-demo-{}-{:?}", std::process::id(), Instant::now());
    let (inbox, mut letters) = tokio
        .block_on(Inbox::start(&folder.join("inbox"), &secret.clone().into()))
        .context("the local inbox cannot be started")
        .or_input()?;

    tale.step("A leaking service");
    let mut service = demo_service(root, Leak::default()).or_input()?;
    tale.done(&format!(
        "Shop.Pricing, process {}, keeps every quote it ever gave",
        service.pid()
    ));

    tale.step("The agent");
    let config = folder.join("leakhound.toml");
    std::fs::write(
        &config,
        configuration(&archive, service.pid(), &inbox.webhook_url()),
    )
    .with_context(|| format!("cannot write {}", config.display()))
    .or_input()?;
    let log = std::fs::File::create(folder.join("agent.log")).or_input()?;
    let program = std::env::current_exe().or_input()?;
    let agent = Command::new(program)
        .args(["run", "--config"])
        .arg(&config)
        .env(SECRET_VARIABLE, &secret)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("the agent cannot be started")
        .or_input()?;
    let mut agent = AgentProcess(agent);
    tale.done(&format!(
        "leakhound run --config {}; captures at {FIRST_MB} MB and {SECOND_MB} MB",
        config.display()
    ));

    let mut captures = Vec::new();
    for (name, goal) in [
        ("The first capture", FIRST_MB),
        ("The second capture", SECOND_MB),
    ] {
        tale.step(name);
        let letter = wait_for(&mut letters, &mut service, &mut agent, goal, cancel, tale)?;
        let bundle = Archive::open(&archive)
            .and_then(|archive| archive.bundle(letter.text("bundle")))
            .or_input()?;
        tale.done(&told(&bundle));
        captures.push((letter, bundle));
    }
    drop(agent);
    let _ = service.quit();

    let Some((letter, bundle)) = captures.pop() else {
        return Ok(Exit::Ok);
    };
    tale.step("Delivered");
    tale.done(&format!(
        "signed, to {}: {}",
        inbox.address(),
        letter.file.display()
    ));
    show(&archive, &bundle)?;
    println!(
        "The page:     {}",
        bundle.path().join(REPORT_FILE).display()
    );
    println!(
        "The archive:  leakhound archive --archive {} list",
        archive.display()
    );
    println!("The log:      {}", folder.join("agent.log").display());
    println!(
        "All of it took {:.0} s.",
        tale.started.elapsed().as_secs_f64()
    );
    Ok(Exit::Ok)
}

/// What an operator would write, shortened to seconds.
fn configuration(archive: &Path, pid: u32, webhook: &str) -> String {
    format!(
        r#"# Written by `leakhound demo`.
[archive]
location = {archive:?}

[[service]]
name     = "Shop.Pricing"
match    = {{ pid = {pid} }}
every    = "500 ms"
cooldown = "15 s"
limit    = "2 per day"
notify   = ["demo-inbox"]
  [[service.trigger]]
  name = "more than {FIRST_MB} MB"
  when = "private_bytes > {FIRST_MB} MB for 1 s and private_bytes < {SECOND_MB} MB"
  [[service.trigger]]
  name = "more than {SECOND_MB} MB"
  when = "private_bytes > {SECOND_MB} MB for 1 s"

[[notify]]
name    = "demo-inbox"
webhook = {{ url = "{webhook}", secret = {{ env = "{SECRET_VARIABLE}" }} }}
"#
    )
}

fn wait_for(
    letters: &mut mpsc::Receiver<Received>,
    service: &mut Service,
    agent: &mut AgentProcess,
    goal_mb: u64,
    cancel: &Arc<AtomicBool>,
    tale: &mut Tale,
) -> Result<Received, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(letter) = letters.try_recv() {
            return Ok(letter);
        }
        let fail = |why: String| Err(Failure::input(anyhow::anyhow!("{why}")));
        if cancel.load(Ordering::Relaxed) {
            return fail("stopped".to_owned());
        }
        if !matches!(agent.0.try_wait(), Ok(None)) {
            return fail("the agent ended; see agent.log in the demo's folder".to_owned());
        }
        if !service.is_running() {
            return fail(format!("the service ended: {}", service.output()));
        }
        if Instant::now() > deadline {
            return fail(format!(
                "no diagnosis arrived within {} s; see agent.log in the demo's folder",
                PATIENCE.as_secs()
            ));
        }
        if let Some(bytes) = private_bytes(service.pid()) {
            tale.note(&format!(
                "private bytes {}, captured at {goal_mb} MB",
                format_bytes(bytes as f64)
            ));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn private_bytes(pid: u32) -> Option<u64> {
    let identity = leakhound_collector::discover::one(pid).ok()?;
    let facts = leakhound_collector::sample::once(&identity).ok()?;
    facts.get("private_bytes").map(|bytes| bytes as u64)
}

fn told(bundle: &Bundle) -> String {
    let Ok(manifest) = bundle.manifest() else {
        return bundle.id().key();
    };
    let sizes = manifest.dump.as_ref().map_or_else(String::new, |dump| {
        format!(
            "{} sealed into {}",
            format_bytes(dump.raw_bytes as f64),
            format_bytes(dump.stored_bytes as f64)
        )
    });
    match manifest.pause_ms {
        Some(pause_ms) => format!("{sizes}, the service stood still for {pause_ms:.0} ms"),
        None => sizes,
    }
}

fn show(archive: &Path, bundle: &Bundle) -> Result<(), Failure> {
    let sheet =
        read_sheet(&bundle.path().join(leakhound_archive::bundle::SHEET_FILE)).or_input()?;
    let earlier = Archive::open(archive)
        .map(|archive| earlier_sheets(&archive, &sheet))
        .unwrap_or_default();
    let judged = diagnose(sheet, &earlier, &RuleSet::shipped());
    println!();
    print(&judged, OutputFormat::Text, None)?;
    println!();
    Ok(())
}

/// No network, no runtime: the dump that comes with the program is real too.
fn offline(folder: &Path, cancel: &Arc<AtomicBool>, tale: &mut Tale) -> Result<Exit, Failure> {
    tale.step("Offline");
    let dump = folder.join("shop-pricing.core.zst");
    std::fs::write(&dump, BUNDLED_DUMP)
        .with_context(|| format!("cannot write {}", dump.display()))
        .or_input()?;
    tale.done(&format!(
        "a real dump of the same service is used: {}",
        dump.display()
    ));
    tale.step("Reading its heap");
    let case = Case::at(&dump).or_input()?;
    let sheet = sheet_of(
        &case,
        Some("Shop.Pricing"),
        &WalkLimits::default(),
        cancel,
        &mut |step| {
            tale.note(&step.stage);
        },
    )
    .or_input()?;
    tale.done("done");
    let judged = diagnose(sheet, &[], &RuleSet::shipped());
    let page = folder.join("report.html");
    print(&judged, OutputFormat::Html, Some(&page))?;
    println!();
    print(&judged, OutputFormat::Text, None)?;
    println!("\nThe page:  {}", page.display());
    Ok(Exit::Ok)
}

/// Tells what is happening, a line a step, with a moving end on a terminal.
struct Tale {
    started: Instant,
    step: String,
    live: bool,
}

impl Tale {
    fn new(started: Instant) -> Self {
        Self {
            started,
            step: String::new(),
            live: std::io::stderr().is_terminal(),
        }
    }

    fn step(&mut self, name: &str) {
        name.clone_into(&mut self.step);
        self.note("…");
    }

    fn note(&mut self, news: &str) {
        if self.live {
            let short: String = news.chars().take(80).collect();
            eprint!("\r\x1b[2K{} {}  {short}", self.clock(), self.step);
            let _ = std::io::stderr().flush();
        }
    }

    fn done(&mut self, news: &str) {
        if self.live {
            eprint!("\r\x1b[2K");
        }
        eprintln!("{} {:<18} {news}", self.clock(), self.step);
    }

    fn clock(&self) -> String {
        format!("[{:>4.0}s]", self.started.elapsed().as_secs_f64())
    }
}
