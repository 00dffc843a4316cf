//! `leakhound run`: the agent. Watches, captures, works its own queue, delivers, tidies up; stops in order.

use crate::config::Config;
use crate::config_source::{ConfigPackage, Source};
use crate::exit::{Exit, Failure, OrExit};
use crate::manager::Manager;
use crate::open::{self, ConfigArg};
use crate::walker::ParserChild;
use crate::{fabric, metrics};
use leakhound_archive::queue::Queue;
use leakhound_archive::retention::Target;
use leakhound_archive::state::State;
use leakhound_archive::{Archive, ArchiveError};
use leakhound_collector::fabric::Roster;
use leakhound_collector::spare::NoticeBoard;
use leakhound_collector::{Collector, seal};
use leakhound_triage::agent::{Agent, Settings};
use leakhound_triage::incidents::Incidents;
use leakhound_triage::notify::outbox::Policy;
use leakhound_triage::notify::{Http, Outbox};
use leakhound_triage::service_rules::ServiceRules;
use notify::{RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How long a file must be quiet before it is read again: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(300);
/// The file is looked at this often besides the kernel's notices, which do not cross network mounts.
const LOOK: Duration = Duration::from_secs(10);
/// Time between two passes of the retention policy.
const TIDY: Duration = Duration::from_secs(600);

/// The agent: watches services, captures, diagnoses, delivers. Ends on SIGTERM or Ctrl-C; reads its configuration again
/// when the file changes or on SIGHUP, and keeps the last good one when the edit is bad.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Service Fabric: read leakhound.toml of this config package of our own service package, always in the version that is
    /// in force.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    config_package: Option<String>,
    /// Check the configuration and the rules, and end.
    #[arg(long)]
    check: bool,
}

/// A configuration with its rules, both checked.
#[derive(Clone)]
struct Good {
    config: Config,
    rules: ServiceRules,
}

impl Good {
    fn load(path: &Path) -> Result<Self, Failure> {
        let config = Config::load(path).or_usage()?;
        let rules = open::rules(config.triage.rules.as_deref())?;
        let rules = open::service_rules(rules, Some(&config))?;
        Ok(Self { config, rules })
    }

    fn settings(&self) -> Settings {
        Settings {
            limits: self.config.triage.limits(),
            rules: self.rules.clone(),
            destinations: self.config.notify.clone(),
            routes: self
                .config
                .service
                .iter()
                .filter_map(|s| Some((s.name.text.clone(), s.notify.clone()?)))
                .collect(),
            incidents: self.config.incidents.policy(),
            link: self.config.triage.link.clone(),
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let source = match &args.config_package {
        Some(name) => {
            let package = ConfigPackage::named(name, |key| std::env::var(key).ok());
            Source::Package(package.or_usage()?)
        }
        None => Source::from(args.config.config.as_path()),
    };
    if args.check {
        let config = source.path().or_usage()?;
        check(&config)?;
        println!("{} is valid", config.display());
        return Ok(Exit::Ok);
    }
    agent(source, open::stop_signal(), || {})
}

/// Checks the configuration and the rules.
pub fn check(config: &Path) -> Result<(), Failure> {
    Good::load(config).map(drop)
}

/// Works until `stop`; says that it does by calling `ready`.
pub fn agent(
    source: Source,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<Exit, Failure> {
    // Before it is judged: what is written from now on is a change.
    let seen = now(&source);
    let good = Good::load(&source.path().or_usage()?)?;
    let archive = Arc::new(Archive::open_or_create(&good.config.archive.location).or_input()?);
    let swept = archive.sweep().or_input()?;
    tracing::debug!(?swept, "Leftovers of earlier runs are swept");
    let state = State::open(archive.location()).or_input()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_input()?;
    runtime.block_on(serve((source, seen), good, archive, state, stop, ready))
}

async fn serve(
    (source, seen): (Source, Option<Seen>),
    good: Good,
    archive: Arc<Archive>,
    state: State,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<Exit, Failure> {
    let shutdown = CancellationToken::new();
    let hangups = Hangups::listen();
    let queue = Arc::new(Queue::open(state.clone()).or_input()?);
    recover(&archive, &queue).or_input()?;
    let outbox =
        Outbox::open(state.clone(), Arc::new(Http::default()), Policy::default()).or_input()?;
    let (new_config, config) = watch::channel(good.config.collector());
    let (new_settings, settings) = watch::channel(Arc::new(good.settings()));
    let (new_policy, policy) = watch::channel(good.config.archive.policy());
    let (new_fabric, fabric) = watch::channel(good.config.fabric.clone());
    let (new_metrics, metrics) = watch::channel(good.config.metrics.clone());

    let (roster, board) = (Roster::default(), NoticeBoard::default());
    let collector = Collector::new(good.config.collector(), archive.clone(), state.clone())
        .or_input()?
        .with_roster(roster.clone())
        .with_notice_board(board.clone())
        .with_walker(Arc::new(ParserChild::new(good.config.triage.limits())));
    let node = seal::node_name();
    let sharing = fabric::share(node.clone(), board, fabric.clone(), shutdown.clone());
    let sharing = tokio::spawn(sharing);
    let asking = tokio::spawn(fabric::ask(node, roster, fabric, shutdown.clone()));
    let events = collector.events();
    let manager = Arc::new(Manager::new(collector.heartbeat()));
    let mut collecting = tokio::spawn(collector.run(shutdown.clone(), config));
    let incidents = Incidents::open(state.clone()).or_input()?;
    let sources = metrics::Sources {
        archive: archive.clone(),
        queue: queue.clone(),
        outbox: outbox.clone(),
        incidents: incidents.clone(),
        settings: settings.clone(),
        policy: policy.clone(),
    };
    let measuring = tokio::spawn(metrics::write(sources, events, metrics, shutdown.clone()));
    let agent = Agent::new(archive.clone(), queue.clone(), outbox, incidents, settings);
    let working = tokio::spawn(agent.run(shutdown.clone()));
    let tidying = tokio::spawn(tidy(archive, queue, policy, shutdown.clone()));
    let reloading = tokio::spawn(reload(
        (source.clone(), seen),
        hangups,
        manager.clone(),
        shutdown.clone(),
        move |good: Good| {
            new_settings.send_replace(Arc::new(good.settings()));
            new_metrics.send_replace(good.config.metrics.clone());
            // One that is the same is not asked anew.
            new_fabric.send_if_modified(|held| {
                let differs = format!("{held:?}") != format!("{:?}", good.config.fabric);
                if differs {
                    held.clone_from(&good.config.fabric);
                }
                differs
            });
            new_policy.send_replace(good.config.archive.policy());
            new_config.send_replace(good.config.collector());
        },
    ));
    tracing::info!(
        config = %source.path().unwrap_or_default().display(),
        services = good.config.service.len(),
        destinations = good.config.notify.len(),
        "Leakhound is watching"
    );
    manager.ready();
    ready();
    let ended = CancellationToken::new();
    let pulse = {
        let (manager, ended) = (manager.clone(), ended.clone());
        tokio::spawn(async move { manager.pulse(ended).await })
    };

    let result = tokio::select! {
        () = stop => {
            tracing::info!("Stopping: captures get a moment to finish, then their targets are let go");
            Ok(Exit::Ok)
        }
        ended = &mut collecting => Err(Failure::input(match ended {
            Ok(Ok(())) => anyhow::anyhow!("the collector ended by itself"),
            Ok(Err(error)) => anyhow::Error::new(error),
            Err(error) => anyhow::Error::new(error),
        })),
    };
    manager.stopping();
    shutdown.cancel();
    if !collecting.is_finished() {
        let _ = (&mut collecting).await;
    }
    for task in [working, asking, sharing, measuring, tidying, reloading] {
        let _ = task.await;
    }
    ended.cancel();
    let _ = pulse.await;
    tracing::info!("Stopped");
    result
}

/// A crash between seal and enqueue leaves a bundle that nobody would look at.
fn recover(archive: &Archive, queue: &Queue) -> Result<(), ArchiveError> {
    for bundle in archive.undiagnosed()? {
        if queue.enqueue(&bundle.id().key(), jiff::Timestamp::now())? {
            tracing::info!(
                bundle = bundle.id().key(),
                "Capture of an earlier run is taken up"
            );
        }
    }
    Ok(())
}

async fn tidy(
    archive: Arc<Archive>,
    queue: Arc<Queue>,
    policy: watch::Receiver<leakhound_archive::retention::Policy>,
    shutdown: CancellationToken,
) {
    loop {
        let (archive, queue, policy) = (archive.clone(), queue.clone(), policy.borrow().clone());
        let pass = tokio::task::spawn_blocking(move || -> Result<(), ArchiveError> {
            let unfinished = queue.unfinished(100_000)?;
            let in_use = unfinished.into_iter().map(|job| job.bundle).collect();
            let plan = archive.plan(&policy, &in_use, jiff::Timestamp::now())?;
            let pruned = archive.prune(&plan);
            for deletion in pruned.done {
                if deletion.target == Target::Bundle {
                    queue.forget(&deletion.key)?;
                }
                tracing::info!(
                    key = deletion.key,
                    reason = deletion.reason,
                    "Deleted by retention"
                );
            }
            for problem in pruned.problems {
                tracing::warn!(problem, "Retention could not delete");
            }
            Ok(())
        });
        if let Ok(Err(error)) = pass.await {
            tracing::warn!(%error, "Retention did not run");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(TIDY) => {}
        }
    }
}

/// Reads the configuration again when it changed, and hands on only good ones.
async fn reload(
    (source, mut seen): (Source, Option<Seen>),
    mut hangups: Hangups,
    manager: Arc<Manager>,
    shutdown: CancellationToken,
    apply: impl Fn(Good) + Send + 'static,
) {
    let (changed, mut changes) = mpsc::channel::<()>(1);
    let notice = changed.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|e| !e.kind.is_access()) {
            let _ = notice.try_send(());
        }
    });
    let _watcher = watcher.ok().and_then(|mut w| {
        let watched = w.watch(source.folder(), RecursiveMode::NonRecursive);
        watched.is_ok().then_some(w)
    });
    // What was written before the folder was watched has raised no event.
    let _ = changed.try_send(());
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = changes.recv() => tokio::time::sleep(SETTLE).await,
            () = hangups.next() => seen = None,
            () = tokio::time::sleep(LOOK) => {}
        }
        let Some((path, text)) = now(&source) else {
            continue;
        };
        if seen.as_ref().is_some_and(|(_, before)| *before == text) {
            continue;
        }
        manager.reloading();
        let loaded = Good::load(&path);
        let is_good = loaded.is_ok();
        match loaded {
            Ok(good) => {
                tracing::info!(config = %path.display(), "Configuration is read again");
                apply(good);
            }
            Err(problem) => tracing::error!(
                config = %path.display(),
                "The new configuration is not good, the last good one stays in force: {problem}"
            ),
        }
        manager.reloaded(is_good);
        seen = Some((path, text));
    }
}

/// The file that is in force and what it says.
type Seen = (PathBuf, Vec<u8>);

/// The configuration as it is; nothing while it is being replaced.
fn now(source: &Source) -> Option<Seen> {
    let path = source.path().ok()?;
    let text = std::fs::read(&path).ok()?;
    Some((path, text))
}

/// SIGHUP, from the moment it is made; before that the signal would end the program.
struct Hangups {
    #[cfg(unix)]
    signals: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    fn listen() -> Self {
        Self {
            #[cfg(unix)]
            signals: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals {
            signals.recv().await;
            return;
        }
        std::future::pending::<()>().await;
    }
}
