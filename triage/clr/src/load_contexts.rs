//! Load contexts: what keeps groups of assemblies together, and can unload them when nothing holds any part of them.
//!
//! Contexts are managed objects that `AssemblyLoadContext.s_allContexts` lists weakly; an assembly's native side names the native
//! side of its context (vm/peassembly.h, binder/inc/assemblybinder.h; 3.1: vm/pefile.h through its host assembly).

use crate::limits;
use crate::method_table::could_be;
use crate::runtime::Runtime;
use leakhound_dump::MemoryExt;
use serde::Serialize;
use std::collections::HashMap;

/// An `AssemblyLoadContext`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadContext {
    /// Its object.
    pub object: u64,
    /// Full name of its class.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its name, when it has one.
    pub name: Option<String>,
    /// It can be unloaded.
    pub collectible: bool,
    /// `Unload` was called: it goes when nothing holds a part of it any more.
    pub unloading: bool,
    /// File names of the modules in it.
    pub modules: Vec<String>,
}

impl LoadContext {
    /// The context that the application itself lies in.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.type_name == "System.Runtime.Loader.DefaultAssemblyLoadContext"
    }
}

impl Runtime {
    /// Every load context; `None` when the list could not be read. The default one is listed once the program asked for it.
    #[must_use]
    pub fn load_contexts(&self) -> Option<Vec<LoadContext>> {
        let all = self.core_static(
            "System.Runtime.Loader",
            "AssemblyLoadContext",
            "s_allContexts",
        )?;
        let mut contexts = Vec::new();
        let mut by_native = HashMap::new();
        for entry in self.dictionary_entries(all)? {
            let Some(object) = self
                .memory
                .u64(entry.value)
                .and_then(|weak| self.weak_target(weak))
            else {
                continue;
            };
            if contexts.len() >= limits::LOAD_CONTEXTS {
                break;
            }
            if let Some((context, native)) = self.load_context(object) {
                by_native.insert(native, contexts.len());
                contexts.push(context);
            }
        }
        by_native.remove(&0);
        for module in self.modules.all() {
            // System.Private.CoreLib is bound before there is any context; 3.1 never tells it of its own.
            let context = self.context_of(module.address, &by_native).or_else(|| {
                (module.name == "System.Private.CoreLib.dll")
                    .then(|| contexts.iter().position(LoadContext::is_default))
                    .flatten()
            });
            if let Some(context) = context {
                contexts[context].modules.push(module.name.clone());
            }
        }
        Some(contexts)
    }

    fn load_context(&self, object: u64) -> Option<(LoadContext, u64)> {
        /// `InternalState.Unloading`.
        const UNLOADING: u32 = 1;
        let id = self.type_of(object)?;
        let place = |name: &str| {
            let field = self.instance_field(id, name)?;
            object.checked_add(field.offset.into())
        };
        let name = self
            .memory
            .u64(place("_name")?)
            .filter(|text| *text != 0)
            .and_then(|text| self.string_text(text, 256));
        let context = LoadContext {
            object,
            type_name: self.type_info(id)?.name.clone(),
            name,
            collectible: self.memory.u8(place("_isCollectible")?)? != 0,
            unloading: self.memory.u32(place("_state")?)? == UNLOADING,
            modules: Vec::new(),
        };
        let native = self.memory.u64(place("_nativeAssemblyLoadContext")?)?;
        Some((context, native))
    }

    /// Target of a `WeakReference<T>`: a handle, with flags in its low bits since 8.
    fn weak_target(&self, weak: u64) -> Option<u64> {
        let id = self.type_of(weak)?;
        let field = ["_taggedHandle", "m_handle"]
            .iter()
            .find_map(|name| self.instance_field(id, name))?;
        let handle = self.read_reference(weak, &field)? & !7;
        self.memory
            .u64(Some(handle).filter(|h| could_be(*h))?)
            .filter(|o| could_be(*o))
    }

    /// The `PEAssembly` of a module names its binder; in 3.1 its host assembly does. The field's place differs, its value is
    /// one of those that the managed contexts name.
    fn context_of(&self, module: u64, by_native: &HashMap<u64, usize>) -> Option<usize> {
        const SPAN: u64 = 192;
        let words = |at: u64| {
            (0..SPAN)
                .step_by(8)
                .filter_map(move |offset| self.memory.u64(at.checked_add(offset)?))
        };
        let assembly = self
            .memory
            .u64(module.checked_add(self.layout.module.pe_assembly)?)
            .filter(|a| could_be(*a))?;
        let known = |word: u64| by_native.get(&word).copied();
        words(assembly).find_map(known).or_else(|| {
            words(assembly)
                .filter(|word| could_be(*word))
                .find_map(|inner| words(inner).find_map(known))
        })
    }
}
