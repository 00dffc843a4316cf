//! How old the elements of a collection are, where they bear the moment at which they came: a `DateTime`, a `DateTimeOffset`, ticks.

use super::survey::Survey;
use leakhound_clr::{MomentField, References, TypeId};
use std::collections::{HashMap, HashSet};

/// Objects that are looked at for one collection: the first of a longer one have to speak for all.
const VISITS: usize = 1 << 18;

/// What the elements of collections are that do not say so by a type argument.
const ELEMENTS: [(&str, &str); 2] = [
    (
        "Microsoft.Extensions.Caching.Memory.MemoryCache",
        "Microsoft.Extensions.Caching.Memory.CacheEntry",
    ),
    (
        "System.Runtime.Caching.MemoryCacheStore",
        "System.Runtime.Caching.MemoryCacheEntry",
    ),
];

/// Names of fields that say when something came, the best first.
const CAME: [&str; 12] = [
    "created",
    "enqueued",
    "queued",
    "added",
    "received",
    "arrived",
    "started",
    "accessed",
    "timestamp",
    "time",
    "date",
    "ticks",
];
/// Moments that lie ahead say nothing of age.
const AHEAD: [&str; 7] = ["exp", "until", "due", "deadline", "valid", "next", "retry"];

/// Moments in one survey; remembers what it learnt of types.
pub struct Ages<'s, 'a> {
    survey: &'s Survey<'a>,
    references: References<'s>,
    fields: HashMap<TypeId, Option<MomentField>>,
    is_element: HashMap<(TypeId, TypeId), bool>,
}

/// When the oldest and the newest element came, milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Age {
    /// The oldest.
    pub oldest_ms: i64,
    /// The newest.
    pub newest_ms: i64,
    /// The field that says so.
    pub field: String,
}

impl<'s, 'a> Ages<'s, 'a> {
    /// Over one survey.
    #[must_use]
    pub fn new(survey: &'s Survey<'a>) -> Self {
        Self {
            survey,
            references: survey.runtime.references(&survey.objects),
            fields: HashMap::new(),
            is_element: HashMap::new(),
        }
    }

    /// Of the elements of a collection; `None` when they bear no moment.
    pub fn of(&mut self, collection: u32) -> Option<Age> {
        let element = self.element_of(self.survey.objects.type_id(collection))?;
        let mut seen = HashSet::from([collection]);
        let mut level = vec![collection];
        let mut age: Option<Age> = None;
        while !level.is_empty() {
            let mut reached = Vec::new();
            for object in level.drain(..) {
                self.references.each(object, |target| {
                    if seen.len() < VISITS && seen.insert(target) {
                        reached.push(target);
                    }
                });
            }
            // Objects are numbered as they lie in memory. A table of hashes leads all over the heap, and a compressed dump would be
            // unpacked again and again for it.
            reached.sort_unstable();
            for object in reached {
                if !self.is_element(self.survey.objects.type_id(object), element) {
                    level.push(object);
                } else if let Some((moment, field)) = self.moment(object) {
                    let age = age.get_or_insert(Age {
                        oldest_ms: moment,
                        newest_ms: moment,
                        field,
                    });
                    age.oldest_ms = age.oldest_ms.min(moment);
                    age.newest_ms = age.newest_ms.max(moment);
                }
            }
        }
        age
    }

    fn element_of(&self, collection: TypeId) -> Option<TypeId> {
        let runtime = self.survey.runtime;
        let info = runtime.type_info(collection)?;
        if let Some((_, name)) = ELEMENTS.iter().find(|(name, _)| info.raw_name == *name) {
            let types = u32::try_from(runtime.type_count()).ok()?;
            return (0..types).map(TypeId).find(|id| {
                runtime
                    .type_info(*id)
                    .is_some_and(|info| info.raw_name == *name)
            });
        }
        let element = runtime.type_arguments(collection).last().copied()?;
        let info = runtime.type_info(element)?;
        (!info.value_type && !info.string && !info.array && info.raw_name != "System.Object")
            .then_some(element)
    }

    fn is_element(&mut self, id: TypeId, element: TypeId) -> bool {
        let runtime = self.survey.runtime;
        *self
            .is_element
            .entry((id, element))
            .or_insert_with(|| runtime.base_types(id).contains(&element))
    }

    fn moment(&mut self, object: u32) -> Option<(i64, String)> {
        let runtime = self.survey.runtime;
        let id = self.survey.objects.type_id(object);
        let field = self
            .fields
            .entry(id)
            .or_insert_with(|| best(runtime.moment_fields(id)))
            .as_ref()?;
        let moment = runtime.read_moment(self.survey.objects.address(object), field)?;
        Some((moment, field.name.clone()))
    }
}

/// The field that says when its object came.
fn best(fields: Vec<MomentField>) -> Option<MomentField> {
    let rank = |field: &MomentField| {
        let name = field.name.to_ascii_lowercase();
        if AHEAD.iter().any(|ahead| name.contains(ahead)) {
            return None;
        }
        let place = CAME.iter().position(|came| name.contains(came));
        Some(place.unwrap_or(CAME.len()))
    };
    let ranked = fields
        .into_iter()
        .filter_map(|field| Some((rank(&field)?, field)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, field)| field)
}
