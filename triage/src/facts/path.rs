//! From a root to an object, in words: `static Shop.Bus.Changed → EventHandler._invocationList[] → …`.

use super::survey::{RootKind, Survey};
use leakhound_clr::{Field, References, Runtime, Snapshot, TypeId};
use std::collections::HashMap;

/// Steps of a path that are shown.
const STEPS: usize = 12;
/// Objects between a root and an object that are looked at; a longer way is a chain of links.
const CLIMB: usize = 4_096;

/// Names the fields by which objects hold each other; remembers the fields of types.
pub struct Links<'s> {
    runtime: &'s Runtime,
    objects: &'s Snapshot,
    references: References<'s>,
    fields: HashMap<TypeId, Vec<Field>>,
}

impl<'s> Links<'s> {
    /// Over one heap.
    #[must_use]
    pub fn new(runtime: &'s Runtime, objects: &'s Snapshot) -> Self {
        Self {
            runtime,
            objects,
            references: runtime.references(objects),
            fields: HashMap::new(),
        }
    }

    /// The objects that an object refers to; the same one may come twice.
    pub fn each(&mut self, object: u32, found: impl FnMut(u32)) {
        self.references.each(object, found);
    }

    /// The field by which `from` holds `to`; `None` when it is an element, or when the runtime adds the edge (dependent handles).
    #[must_use]
    pub fn field(&mut self, from: u32, to: u32) -> Option<String> {
        let id = self.objects.type_id(from);
        if self.runtime.type_info(id).is_none_or(|info| info.array) {
            return None;
        }
        let wanted = self.objects.address(to);
        let mut place = None;
        self.references.each_slot(from, |offset, target| {
            if target == wanted && place.is_none() {
                place = Some(offset);
            }
        });
        let fields = self.fields.entry(id).or_insert_with(|| {
            let mut fields = self.runtime.instance_fields(id);
            fields.sort_by_key(|field| field.offset);
            fields
        });
        // A reference inside of a struct belongs to the field that the struct lies in.
        let at = place?;
        let after = fields.partition_point(|field| u64::from(field.offset) <= at);
        Some(fields.get(after.checked_sub(1)?)?.name.clone())
    }
}

/// Spells paths.
pub struct Paths<'s, 'a> {
    survey: &'s Survey<'a>,
    links: Links<'s>,
}

/// Who owns an object, and the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The static field at its beginning, when there is one.
    pub static_field: Option<String>,
    /// The field that holds the object itself: `Shop.Bus.Changed`; empty when an array or a root holds it.
    pub holder: String,
    /// All of it, the root first. Each object is named with the field that holds the next one, `Dictionary<String, Order>._entries[]`
    /// when that is an array; indices are left out.
    pub steps: Vec<String>,
}

impl<'s, 'a> Paths<'s, 'a> {
    /// Over one survey.
    #[must_use]
    pub fn new(survey: &'s Survey<'a>) -> Self {
        Self {
            survey,
            links: Links::new(survey.runtime, &survey.objects),
        }
    }

    /// The shortest way to an object from the root that owns it; `None` when no root reaches it.
    #[must_use]
    pub fn to(&mut self, object: u32) -> Option<Path> {
        let root = self.survey.root_of(object)?;
        let mut nodes = vec![object];
        while let Some(parent) = self.survey.owners.parent(nodes[nodes.len() - 1]) {
            nodes.push(parent);
            if nodes.len() >= CLIMB {
                break;
            }
        }
        nodes.reverse();
        let is_static = matches!(root.kind, RootKind::Static | RootKind::ThreadStatic);
        let mut steps = vec![root.title()];
        let mut holder = if is_static && nodes.len() == 1 {
            root.name.clone()
        } else {
            String::new()
        };
        let mut held_as_array = false;
        for pair in nodes.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let field = self.links.field(from, to);
            // An array that a field holds is told with the field.
            let told = std::mem::take(&mut held_as_array) && field.is_none();
            let short = self.survey.short_type_name(from);
            let shown = match &field {
                Some(field) if to != object && self.is_array(to) => {
                    held_as_array = true;
                    format!("{short}.{field}[]")
                }
                Some(field) => format!("{short}.{field}"),
                None => short,
            };
            // A chain of equal links is one step, however long.
            if !told && steps.last() != Some(&shown) && steps.len() < STEPS {
                steps.push(shown);
            }
            if to == object {
                let full = |field| format!("{}.{field}", self.survey.type_name(from));
                holder = field.map(full).unwrap_or_default();
            }
        }
        let end = self.survey.short_type_name(object);
        if steps.last() != Some(&end) {
            steps.push(end);
        }
        Some(Path {
            static_field: is_static.then(|| root.name.clone()),
            holder,
            steps,
        })
    }

    /// The objects that an object refers to; the same one may come twice.
    pub fn each_reference(&mut self, object: u32, found: impl FnMut(u32)) {
        self.links.each(object, found);
    }

    /// The field by which one object holds another.
    #[must_use]
    pub fn field(&mut self, from: u32, to: u32) -> Option<String> {
        self.links.field(from, to)
    }

    fn is_array(&self, object: u32) -> bool {
        let info = self
            .survey
            .runtime
            .type_info(self.survey.objects.type_id(object));
        info.is_some_and(|info| info.array)
    }
}
