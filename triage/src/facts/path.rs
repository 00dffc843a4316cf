//! From a root to an object, in words: `static Shop.Bus.Changed → EventHandler._invocationList[] → …`.

use super::survey::{Root, RootKind, Survey};
use leakhound_clr::{Field, References, TypeId};
use std::collections::HashMap;

/// Steps of a path that are shown.
const STEPS: usize = 12;
/// Objects between a root and an object that are looked at; a longer way is a chain of links.
const CLIMB: usize = 4_096;

/// Spells paths; remembers the fields of types.
pub struct Paths<'s, 'a> {
    survey: &'s Survey<'a>,
    references: References<'s>,
    fields: HashMap<TypeId, Vec<Field>>,
}

/// Who owns an object, and the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The static field at its beginning, when there is one.
    pub static_field: Option<String>,
    /// The field that holds the object itself: `Shop.Bus.Changed`; empty when an array or a root holds it.
    pub holder: String,
    /// All of it, the root first.
    pub steps: Vec<String>,
}

impl<'s, 'a> Paths<'s, 'a> {
    /// Over one survey.
    #[must_use]
    pub fn new(survey: &'s Survey<'a>) -> Self {
        Self {
            survey,
            references: survey.runtime.references(&survey.objects),
            fields: HashMap::new(),
        }
    }

    /// The way to an object; `None` when no root reaches it.
    #[must_use]
    pub fn to(&mut self, object: u32) -> Option<Path> {
        let root = self.root_of(object)?;
        let (name, kind) = (root.name.clone(), root.kind);
        let mut nodes = vec![object];
        while let Some(parent) = self.survey.owners.parent(nodes[nodes.len() - 1]) {
            nodes.push(parent);
            if nodes.len() >= CLIMB {
                break;
            }
        }
        nodes.reverse();
        let is_static = matches!(kind, RootKind::Static | RootKind::ThreadStatic);
        let mut steps = vec![if is_static {
            format!("static {name}")
        } else {
            name.clone()
        }];
        let mut holder = if is_static && nodes.len() == 1 {
            name.clone()
        } else {
            String::new()
        };
        for pair in nodes.windows(2) {
            let step = self.step(pair[0], pair[1]);
            // A chain of equal links is one step, however long.
            if steps.last() != Some(&step.shown) && steps.len() < STEPS {
                steps.push(step.shown);
            }
            if pair[1] == object {
                holder = step.field;
            }
        }
        let end = self.survey.short_type_name(object);
        if steps.last() != Some(&end) {
            steps.push(end);
        }
        Some(Path {
            static_field: is_static.then_some(name),
            holder,
            steps,
        })
    }

    fn root_of(&self, object: u32) -> Option<&'s Root> {
        let group = self.survey.owners.of(object)?;
        self.survey.roots.iter().find(|root| root.group == group)
    }

    /// How `from` holds `to`: by a field, or as an element.
    fn step(&mut self, from: u32, to: u32) -> Step {
        let survey = self.survey;
        let id = survey.objects.type_id(from);
        let short = survey.short_type_name(from);
        if survey.runtime.type_info(id).is_none_or(|info| info.array) {
            return Step {
                shown: short,
                field: String::new(),
            };
        }
        let wanted = survey.objects.address(to);
        let mut place = None;
        self.references.each_slot(from, |offset, target| {
            if target == wanted && place.is_none() {
                place = Some(offset);
            }
        });
        let fields = self.fields.entry(id).or_insert_with(|| {
            let mut fields = survey.runtime.instance_fields(id);
            fields.sort_by_key(|field| field.offset);
            fields
        });
        // A reference inside of a struct belongs to the field that the struct lies in.
        let field = place.and_then(|at| {
            let after = fields.partition_point(|field| u64::from(field.offset) <= at);
            fields.get(after.checked_sub(1)?)
        });
        match field {
            Some(field) => Step {
                shown: format!("{short}.{}", field.name),
                field: format!("{}.{}", survey.type_name(from), field.name),
            },
            // The runtime adds edges of its own (dependent handles).
            None => Step {
                shown: short,
                field: String::new(),
            },
        }
    }
}

struct Step {
    shown: String,
    field: String,
}
