//! Load contexts: what keeps groups of assemblies together, and can unload them when nothing holds any part of them.
//!
//! Contexts are managed objects that `AssemblyLoadContext.s_allContexts` lists weakly until they are unloaded, by `Unload` or by
//! their finalizer (System.Private.CoreLib, AssemblyLoadContext.cs, `InitiateUnload`; 3.1 to 10). The native side of each holds it
//! by a handle of its own for as long as anything of it is there: a strong one, or a long weak one while it is collectible and not
//! yet unloaded (vm/assemblynative.cpp, `AssemblyNative_InitializeAssemblyLoadContext`). Those that only such a handle names are
//! the ones that should be gone. An assembly's native side names the native side of its context (vm/peassembly.h,
//! binder/inc/assemblybinder.h; 3.1: vm/pefile.h through its host assembly).

use crate::handles::HandleKind;
use crate::limits;
use crate::method_table::could_be;
use crate::modules::Module;
use crate::runtime::Runtime;
use crate::shapes::TypeId;
use leakhound_dump::MemoryExt;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Namespace and name of the class of every context, or its base.
const CLASS: (&str, &str) = ("System.Runtime.Loader", "AssemblyLoadContext");

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
        let class = self.type_of_table(self.core_table(CLASS.0, CLASS.1)?)?;
        // The list is made when the program first asks for a context.
        let all = self.core_static(CLASS.0, CLASS.1, "s_allContexts");
        let entries = match all {
            Some(all) => self.dictionary_entries(all)?,
            None => Vec::new(),
        };
        let listed: Vec<u64> = entries
            .into_iter()
            .filter_map(|entry| self.weak_target(self.memory.u64(entry.value)?))
            .collect();
        let mut contexts = Vec::new();
        let mut by_native = HashMap::new();
        let mut seen = HashSet::new();
        for object in listed.into_iter().chain(self.contexts_with_handles(class)) {
            if contexts.len() >= limits::LOAD_CONTEXTS {
                break;
            }
            if !seen.insert(object) {
                continue;
            }
            if let Some((context, native)) = self.load_context(object) {
                by_native.insert(native, contexts.len());
                contexts.push(context);
            }
        }
        by_native.remove(&0);
        let modules = self.modules.all();
        let ways = self.ways_to_contexts(&modules, &by_native);
        // What several modules name in the same place is a context too, only that its object is not known: the default one, in 3.1.
        let mut unknown: HashMap<u64, usize> = HashMap::new();
        for module in &modules {
            let named = ways
                .first()
                .and_then(|way| self.follow(module.address, *way));
            if let Some(native) = named.filter(|n| could_be(*n) && !by_native.contains_key(n)) {
                *unknown.entry(native).or_default() += 1;
            }
        }
        for module in &modules {
            let names = |way: &Way| self.follow(module.address, *way);
            let elsewhere = ways
                .first()
                .and_then(names)
                .is_some_and(|native| unknown.get(&native).is_some_and(|modules| *modules > 1));
            let context = ways
                .iter()
                .filter(|_| !elsewhere)
                .find_map(|way| by_native.get(&names(way)?).copied());
            // System.Private.CoreLib is bound before there is any context; 3.1 never tells it of its own.
            let context = context.or_else(|| {
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

    /// Contexts that the runtime's native side holds, unloaded ones too.
    fn contexts_with_handles(&self, class: TypeId) -> Vec<u64> {
        let mut known: HashMap<TypeId, bool> = HashMap::new();
        let mut is_context = |object: u64| {
            self.type_of(object).is_some_and(|id| {
                *known
                    .entry(id)
                    .or_insert_with(|| self.base_types(id).contains(&class))
            })
        };
        self.handles()
            .into_iter()
            .filter(|handle| matches!(handle.kind, HandleKind::Strong | HandleKind::WeakLong))
            .map(|handle| handle.target)
            .filter(|object| is_context(*object))
            .collect()
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

    /// The `PEAssembly` of a module names its binder; in 3.1 its host assembly does. The fields' places differ by version, and are
    /// found by vote: those through which most modules lead to the native side of a context come first. One that contradicts them
    /// merely lies beside a context's memory.
    fn ways_to_contexts(
        &self,
        modules: &[Arc<Module>],
        by_native: &HashMap<u64, usize>,
    ) -> Vec<Way> {
        const VOTERS: usize = 512;
        let mut votes: BTreeMap<Way, BTreeMap<u64, u64>> = BTreeMap::new();
        let mut vote = |way: Way, module: u64, native: u64| {
            if by_native.contains_key(&native) {
                votes.entry(way).or_default().insert(module, native);
            }
        };
        for module in modules.iter().take(VOTERS) {
            let Some(assembly) = self.assembly_of(module.address) else {
                continue;
            };
            for (first, word) in self.words(assembly) {
                vote((first, None), module.address, word);
                if could_be(word) && !by_native.contains_key(&word) {
                    for (second, inner) in self.words(word) {
                        vote((first, Some(second)), module.address, inner);
                    }
                }
            }
        }
        let mut ways: Vec<(Way, BTreeMap<u64, u64>)> = votes.into_iter().collect();
        ways.sort_by_key(|(way, voters)| (std::cmp::Reverse(voters.len()), *way));
        let mut believed: BTreeMap<u64, u64> = BTreeMap::new();
        ways.retain(|(_, voters)| {
            let agrees = voters
                .iter()
                .all(|(module, native)| believed.get(module).is_none_or(|known| known == native));
            if agrees {
                believed.extend(voters);
            }
            agrees
        });
        ways.into_iter().map(|(way, _)| way).collect()
    }

    /// The native side of a module's context.
    fn follow(&self, module: u64, (first, second): Way) -> Option<u64> {
        let assembly = self.assembly_of(module)?;
        let word = self.memory.u64(assembly.checked_add(first)?)?;
        match second {
            None => Some(word),
            Some(second) => {
                let at = Some(word).filter(|word| could_be(*word))?;
                self.memory.u64(at.checked_add(second)?)
            }
        }
    }

    fn assembly_of(&self, module: u64) -> Option<u64> {
        self.memory
            .u64(module.checked_add(self.layout.module.pe_assembly)?)
            .filter(|assembly| could_be(*assembly))
    }

    /// The first words of a native object, with their places.
    fn words(&self, at: u64) -> impl Iterator<Item = (u64, u64)> {
        const SPAN: u64 = 192;
        (0..SPAN)
            .step_by(8)
            .filter_map(move |offset| Some((offset, self.memory.u64(at.checked_add(offset)?)?)))
    }
}

/// Places of the field in the `PEAssembly`, and of the one in what it points at.
type Way = (u64, Option<u64>);
