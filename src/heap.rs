//! `leakhound heap`: plain questions to a heap, for the sceptic who wants to see the numbers.

mod table;

use crate::exit::{Exit, Failure, OrExit};
use crate::open;
use crate::terminal;
use crate::triage::WalkArgs;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use leakhound_triage::case::Case;
use leakhound_triage::child::{self, Ask};
use leakhound_triage::explore::{Query, VIEWS, View};
use leakhound_triage::worker::WalkLimits;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Look into a heap: what SOS shows, from any dump, on any system.
///
/// FILE is a Linux core or a Windows minidump (raw, zstd-compressed or sealed), a bundle folder, or `pid:4711` for a running
/// process, which is not stopped. Numbers are exact; JSON has every row and plain bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Views:
  types      objects and bytes by type, alive or dead                       (SOS: dumpheap -stat)
  objects    every object of a type                                         (SOS: dumpheap -type)
  dominators objects, or types, by what would go with them (retained size)
  path       why an object is alive: shortest path from each kind of root   (SOS: gcroot)
  gen        every generation of every heap: committed, objects, holes      (SOS: eeheap -gc)
  statics    static and thread-static fields, and the object in each
  handles    GC handles by kind                                             (SOS: gchandles)
  finalizer  objects with finalizers: waiting (ready) and registered        (SOS: finalizequeue)
  threads    managed threads: ids, name, state                              (SOS: threads)
  strings    contents of strings and what their repetition costs            (SOS: strings)
  modules    assemblies and native libraries: version, MVID, place          (SOS: clrmodules, lm)
  map        the address space: what each stretch is for                    (SOS: maddress)

Examples:
  leakhound heap core.4711 types                          the 40 types that hold most
  leakhound heap core.4711 types --sort count --limit 10  the ten most numerous
  leakhound heap core.4711 types --free                   with the holes between objects, as SOS counts them
  leakhound heap pid:4711 gen --quick                     sizes of a running process, without walking its heap
  leakhound heap core.4711 objects Shop.Cart.Order        the biggest orders; '*Order*' for all such names
  leakhound heap core.4711 dominators --depth 3           what keeps most alive, and what that keeps
  leakhound heap core.4711 path 0x7f0012345678            who keeps this object
  leakhound heap core.4711 gen --format json | jq 'map(.free_bytes) | add'
  leakhound heap core.4711 types --modules ./publish      names from module files, for dumps without metadata
  leakhound heap /var/lib/leakhound/cart/2026… statics    a captured bundle")]
pub struct Args {
    /// The dump, bundle, or `pid:NUMBER`.
    file: PathBuf,
    /// What to show.
    #[arg(value_parser = PossibleValuesParser::new(VIEWS.iter().map(|v| v.name)))]
    view: String,
    /// objects: the type, by full or short name; `*part*` for all names that contain it. path: the object's address.
    #[arg(value_name = "TYPE|ADDR")]
    argument: Option<String>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    /// Rows to print; 0 for all. Default: 40 in text, all in JSON.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Column to sort by, under its JSON name: amounts fall, names rise.
    #[arg(long, value_name = "COLUMN")]
    sort: Option<String>,
    /// Sort the other way round.
    #[arg(long)]
    reverse: bool,
    /// gen: only what the GC's own tables say, in milliseconds; objects and holes stay empty.
    #[arg(long)]
    quick: bool,
    /// types: list the holes between objects as the type `Free`.
    #[arg(long)]
    free: bool,
    /// dominators: how many objects below the roots; each level is what the one above dominates. Default: 1.
    #[arg(long, value_name = "N")]
    depth: Option<u32>,
    /// dominators: types instead of objects.
    #[arg(long, conflicts_with = "depth")]
    types: bool,
    /// statics: fields that are null too; threads: threads that the runtime does not know too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    walk: WalkArgs,
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For people.
    Text,
    /// An array of objects.
    Json,
}

/// Rows that text shows when nobody says how many.
const ROWS_SHOWN: usize = 40;

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let view = View::named(&args.view)
        .ok_or_else(|| Failure::usage(anyhow::anyhow!("there is no view `{}`", args.view)))?;
    check(args, view)?;
    let ask = Ask {
        query: Query {
            view: args.view.clone(),
            argument: args.argument.clone(),
            sort: args.sort.clone(),
            reverse: args.reverse,
            limit: limit(args),
            quick: args.quick,
            free: args.free,
            depth: args.depth,
            types: args.types,
            all: args.all,
        },
        ..ask(&args.file, &args.walk.limits()?)?
    };
    let cancel = open::cancel_on_signal();
    let what = format!("{} {}", args.file.display(), args.view);
    let line = terminal::Line::with(&what, args.walk.progress);
    let answer = child::ask(&ask, &cancel, &mut |step| line.step(step));
    line.done();
    let answer = answer.map_err(|error| Failure::of_file(&args.file, error))?;
    let text = match args.format {
        OutputFormat::Json => table::json(view, &answer),
        OutputFormat::Text => table::text(view, &answer, &open::style()),
    };
    if args.format == OutputFormat::Json {
        for note in &answer.notes {
            eprintln!("note: {note}");
        }
    }
    let mut out = std::io::stdout().lock();
    // A reader that closed its end (`| head`) has what it wanted.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(Exit::Ok)
}

/// Options that this view does not have, columns that do not exist.
fn check(args: &Args, view: &View) -> Result<(), Failure> {
    for (given, flag, views) in [
        (args.quick, "--quick", &["gen"][..]),
        (args.free, "--free", &["types"]),
        (args.depth.is_some(), "--depth", &["dominators"]),
        (args.types, "--types", &["dominators"]),
        (args.all, "--all", &["statics", "threads"]),
    ] {
        if given && !views.contains(&view.name) {
            return Err(Failure::usage(anyhow::anyhow!(
                "{flag} is for {}, not for {}",
                views.join(" and "),
                view.name
            )));
        }
    }
    match (view.argument, &args.argument) {
        (Some(wanted), None) => {
            return Err(Failure::usage(anyhow::anyhow!(
                "{view} needs {article} {wanted}: leakhound heap {file} {view} {wanted}",
                article = if wanted.starts_with('A') { "an" } else { "a" },
                view = view.name,
                file = args.file.display()
            )));
        }
        (None, Some(given)) => {
            return Err(Failure::usage(anyhow::anyhow!(
                "{} takes nothing behind it, but `{given}` was given",
                view.name
            )));
        }
        _ => {}
    }
    if let (Some("ADDR"), Some(given)) = (view.argument, &args.argument) {
        leakhound_triage::explore::path::address(given)
            .map_err(|error| Failure::usage(anyhow::anyhow!("{error}")))?;
    }
    let keys = || view.columns.iter().map(|c| c.key);
    match &args.sort {
        Some(key) if !keys().any(|k| k == key) => {
            let near = leakhound_rules::diagnostic::nearest(key, keys())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let known: Vec<&str> = keys().collect();
            Err(Failure::usage(anyhow::anyhow!(
                "{} has no column `{key}`{near} It has {}",
                view.name,
                known.join(", ")
            )))
        }
        _ => Ok(()),
    }
}

fn limit(args: &Args) -> Option<usize> {
    match (args.limit, args.format) {
        (Some(0), _) | (None, OutputFormat::Json) => None,
        (Some(rows), _) => Some(rows),
        (None, OutputFormat::Text) => Some(ROWS_SHOWN),
    }
}

/// Whom to ask; the question is still empty.
fn ask(file: &Path, limits: &WalkLimits) -> Result<Ask, Failure> {
    if let Some(pid) = file.to_str().and_then(|text| text.strip_prefix("pid:")) {
        let pid: u32 = pid.parse().map_err(|_| {
            Failure::usage(anyhow::anyhow!(
                "`pid:{pid}` is no process; write its number, such as pid:4711"
            ))
        })?;
        return Ok(Ask {
            request: limits.request(file, None),
            process: Some(pid),
            query: Query::default(),
        });
    }
    match Case::at(file).or_input()? {
        Case::Dump { dump, manifest, .. } => Ok(Ask {
            request: limits.request(&dump, manifest.as_deref()),
            process: None,
            query: Query::default(),
        }),
        Case::Sheet { sheet, .. } => Err(Failure::input(anyhow::anyhow!(
            "{} is a fact sheet, and its dump is gone: there is no heap to look into. `leakhound triage` judges it",
            sheet.display()
        ))),
    }
}
