//! Logs: text for people, JSON for collectors of logs, always on standard error.

use anyhow::Context;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. The agent logs what it does; one-shot commands only what went wrong.
pub fn start(filter: Option<&str>, json: bool, agent: bool) -> anyhow::Result<()> {
    let filter = parse(filter, if agent { "info" } else { "warn" })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))
}

/// Starts logging into something that knows time and level of an entry itself.
#[cfg(windows)]
pub fn start_into<W>(filter: Option<&str>, writer: W) -> anyhow::Result<()>
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let started = tracing_subscriber::fmt()
        .with_env_filter(parse(filter, "info")?)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .without_time()
        .try_init();
    started.map_err(|e| anyhow::anyhow!("cannot start logging: {e}"))
}

fn parse(filter: Option<&str>, default: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter.unwrap_or(default)).with_context(|| {
        format!(
            "--log {}: not a log filter; say error, warn, info, debug or trace",
            filter.unwrap_or_default()
        )
    })
}
