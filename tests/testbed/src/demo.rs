//! The service of `leakhound demo`: Shop.Pricing, whose static quote cache grows at a steady rate.

use crate::compiler::RUNTIME_CONFIG;
use crate::error::{IoContext, Result};
use crate::packages::hex;
use crate::place;
use crate::runtimes::DotnetRoot;
use crate::service::{Launch, Service};
use crate::targets::App;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The program as IL; `assets/Shop.Pricing.cs` is its source.
const PROGRAM: &[u8] = include_bytes!("../assets/Shop.Pricing.dll");

/// What the diagnosis of the demo must blame.
pub const CULPRIT: &str = "Shop.Pricing.QuoteCache.Quotes";

/// How fast the service leaks, and where it stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak {
    /// Megabytes of live objects per second.
    pub megabytes_per_second: u32,
    /// Megabytes after which it stops growing, so that a forgotten demo does no harm.
    pub megabytes_at_most: u32,
}

impl Default for Leak {
    fn default() -> Self {
        Self {
            megabytes_per_second: 12,
            megabytes_at_most: 600,
        }
    }
}

/// Starts the leaking service. It prints a line each second ([`Service::output`]) and dies with its owner.
pub fn demo_service(root: &DotnetRoot, leak: Leak) -> Result<Service> {
    prepare(root, leak)?.start()
}

/// As [`demo_service`], not yet started.
pub fn prepare(root: &DotnetRoot, leak: Leak) -> Result<Launch> {
    Ok(place_program()?
        .on(root)
        .arg(&leak.megabytes_per_second.to_string())
        .arg(&leak.megabytes_at_most.to_string()))
}

fn place_program() -> Result<App> {
    let hash = hex(&Sha256::digest(PROGRAM));
    let folder = place::folder()?
        .join("apps")
        .join(format!("demo-{}", &hash[..16]));
    std::fs::create_dir_all(&folder).doing("create", &folder)?;
    let app = App {
        name: "Shop.Pricing".to_owned(),
        dll: folder.join("Shop.Pricing.dll"),
        settings: BTreeMap::new(),
    };
    for (path, content) in [
        (
            folder.join("Shop.Pricing.runtimeconfig.json"),
            RUNTIME_CONFIG.as_bytes(),
        ),
        (app.dll.clone(), PROGRAM),
    ] {
        if std::fs::read(&path).is_ok_and(|found| found == content) {
            continue;
        }
        // Another process may be starting it: never write into the file itself.
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&fresh, content).doing("write", &fresh)?;
        std::fs::rename(&fresh, &path).doing("move", &fresh)?;
    }
    Ok(app)
}
