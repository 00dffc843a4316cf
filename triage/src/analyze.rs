//! One dump to one fact sheet, top to bottom. Runs in the parser child only.

use crate::child::{Progress, Request};
use crate::facts;
use crate::facts::account::GcShare;
use crate::subject::{Subject, SubjectError};
use leakhound_archive::Manifest;
use leakhound_clr::{NoRuntime, Options, Runtime};
use leakhound_dump::ProcessImage;
use leakhound_rules::FactSheet;
use leakhound_rules::sheet::SHEET_SCHEMA;

/// Sentences about problems that a sheet keeps.
const PROBLEMS_KEPT: usize = 50;

/// Walks the dump that `request` names.
///
/// A process without a readable runtime gives a sheet too: the byte account and a sentence about what is missing.
///
/// # Errors
/// The file is not a dump, or nothing useful can be read from it.
pub fn analyze(
    request: &Request,
    progress: &mut dyn FnMut(Progress),
) -> Result<FactSheet, SubjectError> {
    progress(Progress {
        stage: "opening the dump".to_owned(),
        share: 0.0,
    });
    Ok(analyze_subject(request, Subject::open(request)?, progress))
}

/// Walks a subject that is open already.
pub fn analyze_subject(
    request: &Request,
    subject: Subject,
    progress: &mut dyn FnMut(Progress),
) -> FactSheet {
    let mut at = |share: f64, stage: &str| {
        progress(Progress {
            stage: stage.to_owned(),
            share,
        });
    };
    let Subject {
        image, manifest, ..
    } = subject;
    let mut sheet = blank(request, manifest.as_ref(), &image);
    sheet
        .completeness
        .problems
        .extend(image.warnings.iter().cloned());
    let map = manifest.as_ref().map_or(&[][..], |m| &m.memory_map);
    match Runtime::open(&image, &Options::default()) {
        Ok(runtime) => {
            at(0.05, "walking the heap");
            let gc = facts::write_managed(&image, &runtime, request, &mut at, &mut sheet);
            facts::account::write(&image, map, &gc, &mut sheet);
            facts::hard_limit::write(manifest.as_ref(), &mut sheet);
        }
        Err(why) => {
            without_runtime(&why, &mut sheet);
            facts::account::write(&image, map, &GcShare::default(), &mut sheet);
        }
    }
    sheet.completeness.problems.extend(image.memory.problems());
    sheet.completeness.problems.truncate(PROBLEMS_KEPT);
    at(1.0, "done");
    sheet
}

/// A sheet that knows who and when.
fn blank(request: &Request, manifest: Option<&Manifest>, image: &ProcessImage) -> FactSheet {
    let mut sheet = FactSheet {
        schema: SHEET_SCHEMA,
        tool: concat!("leakhound ", env!("CARGO_PKG_VERSION")).to_owned(),
        vocabulary: leakhound_rules::vocabulary::fingerprint().to_owned(),
        ..FactSheet::default()
    };
    sheet.subject.source = request.dump.display().to_string();
    sheet.runtime.os = format!("{:?}", image.os).to_lowercase();
    sheet.runtime.arch = format!("{:?}", image.arch).to_lowercase();
    if let Some(manifest) = manifest {
        facts::process::write(manifest, &mut sheet);
    } else {
        sheet.subject.pid = image.pid.unwrap_or_default();
        sheet.int("threads", image.threads.len() as u64);
        if let Some(handles) = image.open_handles {
            sheet.int("fds", handles);
        }
        // The file's own time is the best guess of when it was taken; growth needs an order.
        let written = std::fs::metadata(&request.dump).and_then(|m| m.modified());
        if let Ok(time) = written.map(jiff::Timestamp::try_from)
            && let Ok(time) = time
        {
            sheet.subject.captured_at = Some(time.to_string());
            sheet.subject.captured_at_ms = Some(time.as_millisecond());
        }
    }
    if let Some(service) = &request.service {
        sheet.subject.service.clone_from(service);
    }
    sheet
}

fn without_runtime(why: &NoRuntime, sheet: &mut FactSheet) {
    // A runtime that is there and cannot be read is not the same as none: its heap is unknown, and the verdict says so.
    let name = match why {
        NoRuntime::NotDotNet { .. } => "none",
        _ => ".NET",
    };
    name.clone_into(&mut sheet.runtime.name);
    sheet.completeness.problems.push(why.to_string());
    for name in ["heap.committed", "heap.used", "heap.live"] {
        sheet.unknown(name, why.to_string());
    }
}
