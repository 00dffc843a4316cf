//! Logs: text for people, JSON for collectors of logs, always on standard error.

use anyhow::Context;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. The agent logs what it does; one-shot commands only what went wrong.
pub fn start(filter: Option<&str>, json: bool, agent: bool) -> anyhow::Result<()> {
    let default = if agent { "info" } else { "warn" };
    let filter = EnvFilter::try_new(filter.unwrap_or(default)).with_context(|| {
        format!(
            "--log {}: not a log filter; say error, warn, info, debug or trace",
            filter.unwrap_or_default()
        )
    })?;
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
