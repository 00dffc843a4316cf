//! What the application was configured with: the properties of its `runtimeconfig.json` and of its host.
//!
//! The host hands them to the runtime, which keeps them in `AppContext.s_dataStore`; so they are in the heap, whatever became of
//! the file (System.Private.CoreLib, AppContext.cs, 3.1 to 10).

use crate::runtime::Runtime;
use leakhound_dump::MemoryExt;
use std::collections::BTreeMap;

/// UTF-16 units of a value that are kept: lists of paths are longer, and nobody reads them.
const VALUE_UNITS: usize = 1_024;

impl Runtime {
    /// The text properties of `AppContext` by name, as `AppContext.GetData` gives them; long ones are cut.
    ///
    /// An application may put anything there. What leaves the machine should be chosen by name.
    #[must_use]
    pub fn app_properties(&self) -> Option<BTreeMap<String, String>> {
        let store = self.core_static("System", "AppContext", "s_dataStore")?;
        let entries = self.dictionary_entries(store)?;
        let text = |at: u64| self.string_text(self.memory.u64(at)?, VALUE_UNITS);
        Some(
            entries
                .into_iter()
                .filter_map(|entry| Some((text(entry.key)?, text(entry.value)?)))
                .collect(),
        )
    }
}
