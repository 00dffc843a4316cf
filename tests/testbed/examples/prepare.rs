//! Fetches what the live tests need and says how long it took: `prepare [3.1|8|9|10|compiler|targets]…`, all by default.
//!
//! Run it once on a machine that builds offline afterwards, or to fill a cache for CI.

use leakhound_testbed::{Progress, Version, compiler, place, runtimes, targets};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.is_empty() {
        wanted = ["3.1", "8", "9", "10", "compiler", "targets"]
            .map(str::to_owned)
            .to_vec();
    }
    println!("into {}", place::folder()?.display());
    let mut listen = |news: Progress| {
        if let Progress::Step(step) = news {
            println!("  {step}");
        }
    };
    for item in wanted {
        let begun = Instant::now();
        match (
            item.as_str(),
            Version::ALL.iter().find(|v| v.short() == item),
        ) {
            (_, Some(version)) => {
                runtimes::get_with(*version, &mut listen)?;
            }
            ("compiler", None) => {
                compiler::get(&mut listen)?;
            }
            ("targets", None) => {
                for target in targets::all()? {
                    target.app(&mut listen)?;
                }
            }
            _ => {
                return Err(
                    format!("unknown item {item:?}: 3.1, 8, 9, 10, compiler or targets").into(),
                );
            }
        }
        println!("{item}: {:.1} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}
