//! Exceptions by number, and what each thread threw last.

use super::rows::{row, text};
use super::survey::Survey;
use super::threads::label;
use crate::child::Strings;
use crate::notify::scrub;
use leakhound_clr::TypeId;
use leakhound_rules::FactSheet;

/// Rows kept.
const KEEP: usize = 50;
/// Characters of a message that are shown.
const MESSAGE_CHARACTERS: usize = 160;

/// Writes `exceptions.*` and `thrown`.
pub fn write(survey: &Survey<'_>, strings: Strings, sheet: &mut FactSheet) {
    let runtime = survey.runtime;
    let exceptions: Vec<bool> = (0u32..)
        .take(runtime.type_count())
        .map(|id| runtime.is_exception(TypeId(id)))
        .collect();
    let (mut count, mut live) = (0, 0);
    for (object, id) in (0u32..).zip(survey.objects.type_ids()) {
        if exceptions.get(*id as usize).copied().unwrap_or(false) {
            count += 1;
            live += u64::from(survey.is_live(object));
        }
    }
    sheet.int("exceptions.count", count);
    sheet.int("exceptions.live", live);

    let thrown = runtime.threads().iter().filter_map(|thread| {
        let exception = runtime.last_exception(thread)?;
        let mut columns = row([
            ("thread", text(label(runtime, thread.managed_id))),
            ("type", text(exception.type_name.as_str())),
            ("hresult", text(format!("{:#010x}", exception.hresult))),
        ]);
        if strings == Strings::Scrubbed
            && let Some(message) = runtime.exception_message(&exception, MESSAGE_CHARACTERS)
        {
            columns.insert("message".to_owned(), text(scrub::text(&message)));
        }
        Some(columns)
    });
    sheet
        .lists
        .insert("thrown".to_owned(), thrown.take(KEEP).collect());
}
