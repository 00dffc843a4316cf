//! Signs that a collection has a bound: its holder names one, or keeps the order in which elements have to go.
//!
//! One capture cannot tell a cache that grows from one that is full; these can. Nobody keeps a queue of the same length beside a
//! dictionary but to take the oldest out of both.

use super::statics::{Collection, collection_count};
use super::survey::{Root, RootKind, Survey};
use leakhound_clr::FieldKind;
use std::collections::{BTreeMap, HashMap};

/// What a field is called that holds a bound.
const WORDS: [&str; 5] = ["capacity", "max", "limit", "bound", "quota"];
/// Types that keep an order of leaving.
const ORDERS: [&str; 3] = [
    "System.Collections.Generic.LinkedList`1",
    "System.Collections.Generic.Queue`1",
    "System.Collections.Generic.PriorityQueue`2",
];

/// Knows the orders that static fields hold.
pub(super) struct Bounds<'s, 'a> {
    survey: &'s Survey<'a>,
    /// By class: static fields that hold an order, with its length.
    orders: HashMap<String, Vec<(String, u64)>>,
}

impl<'s, 'a> Bounds<'s, 'a> {
    /// `tops`: by group, the object in the field.
    pub(super) fn of(survey: &'s Survey<'a>, tops: &BTreeMap<u32, u32>) -> Self {
        let mut orders: HashMap<String, Vec<(String, u64)>> = HashMap::new();
        for root in survey.roots.iter().filter(|r| r.kind == RootKind::Static) {
            let Some((class, field)) = root.name.rsplit_once('.') else {
                continue;
            };
            let order = tops.get(&root.group.0).and_then(|top| order(survey, *top));
            if let Some(length) = order {
                let of_class = orders.entry(class.to_owned()).or_default();
                of_class.push((field.to_owned(), length));
            }
        }
        Self { survey, orders }
    }

    /// What bounds a collection below a static field, in words; `None` when nothing shows a bound.
    pub(super) fn on(&self, root: &Root, found: &Collection) -> Option<String> {
        if found.elements == 0 {
            return None;
        }
        match found.holder {
            Some(holder) => self
                .named(holder, found.elements)
                .or_else(|| self.beside(holder, found)),
            None => {
                let (class, own) = root.name.rsplit_once('.')?;
                let orders = self.orders.get(class)?;
                let (field, _) = orders
                    .iter()
                    .find(|(field, length)| field != own && *length == found.elements)?;
                Some(format!("{field} keeps the order in which its entries go"))
            }
        }
    }

    /// A number in the holder that is called a bound, and that the collection has all but reached.
    fn named(&self, holder: u32, elements: u64) -> Option<String> {
        let runtime = self.survey.runtime;
        let id = self.survey.objects.type_id(holder);
        let address = self.survey.objects.address(holder);
        runtime.instance_fields(id).into_iter().find_map(|field| {
            let name = field.name.to_lowercase();
            let fits = field.kind == FieldKind::Primitive { bytes: 4 }
                && WORDS.iter().any(|word| name.contains(word));
            let value = fits.then(|| runtime.read_i32(address, &field)).flatten();
            let value = u64::try_from(value?).ok()?;
            // Much below its bound it is no cache that is full; above it the number bounds something else.
            (elements <= value && elements.saturating_mul(2) >= value)
                .then(|| format!("{} is {value}", field.name))
        })
    }

    /// Another collection of the same holder that keeps an order of the same length.
    fn beside(&self, holder: u32, found: &Collection) -> Option<String> {
        let runtime = self.survey.runtime;
        let id = self.survey.objects.type_id(holder);
        let address = self.survey.objects.address(holder);
        let fields = runtime.instance_fields(id).into_iter();
        fields
            .filter(|field| field.kind == FieldKind::Reference)
            .find_map(|field| {
                let target = runtime.read_reference(address, &field)?;
                let other = self.survey.objects.index_of(target)?;
                let order = order(self.survey, other).filter(|_| other != found.object)?;
                (order == found.elements)
                    .then(|| format!("{} keeps the order in which its entries go", field.name))
            })
    }
}

/// Length of a collection that keeps an order of leaving.
fn order(survey: &Survey<'_>, object: u32) -> Option<u64> {
    let info = survey.runtime.type_info(survey.objects.type_id(object))?;
    let definition = info.raw_name.split('[').next()?;
    let length = collection_count(survey, object)?;
    (ORDERS.contains(&definition) && length > 0).then_some(length)
}
