//! Type names as C# writes them.
//!
//! A name is first a tree ([`TypeName`]), then one of three spellings: full, short (without namespaces), and as the runtime
//! stores it. What the compiler made up (closures, state machines) is named after what the programmer wrote.

pub(crate) mod generated;

use crate::limits;
pub(crate) use generated::Generated;

/// A type's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypeName {
    /// A class, struct, interface or enum.
    Named {
        namespace: String,
        /// Outermost first; the arity suffix is still on each.
        parts: Vec<Part>,
        /// Arguments of all parts, in order.
        arguments: Vec<TypeName>,
    },
    /// An array: its element and its rank; `bounds` marks the odd `T[*]`.
    Array {
        element: Box<TypeName>,
        rank: u32,
        bounds: bool,
    },
    /// `T*`.
    Pointer(Box<TypeName>),
    /// `ref T`.
    ByRef(Box<TypeName>),
    /// `delegate*<A, R>`: arguments, then what it returns.
    Function(Vec<TypeName>),
    /// Anything whose text is all there is.
    Text(String),
}

/// One class of a chain of nested ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub name: String,
    /// What the compiler made it for.
    pub generated: Option<Generated>,
}

/// How a name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// With namespaces; compiler-generated names translated.
    Full,
    /// Without namespaces; compiler-generated names translated.
    Short,
    /// As the runtime stores it: arity suffixes, `+` between nested classes, arguments in brackets.
    Raw,
}

impl TypeName {
    /// The name in one spelling, cut at a length no real name reaches.
    pub fn spell(&self, spelling: Spelling) -> String {
        let mut out = String::new();
        self.write(spelling, 0, &mut out);
        if out.len() > limits::TYPE_NAME_BYTES {
            let mut end = limits::TYPE_NAME_BYTES;
            while !out.is_char_boundary(end) {
                end -= 1;
            }
            out.truncate(end);
            out.push('…');
        }
        out
    }

    fn write(&self, spelling: Spelling, depth: usize, out: &mut String) {
        if depth > limits::TYPE_NAME_DEPTH || out.len() > limits::TYPE_NAME_BYTES {
            out.push('…');
            return;
        }
        match self {
            Self::Named {
                namespace,
                parts,
                arguments,
            } => {
                if let Some(method) = async_box(namespace, parts, arguments)
                    && spelling != Spelling::Raw
                {
                    return method.write(spelling, depth + 1, out);
                }
                write_named(namespace, parts, arguments, spelling, depth, out);
            }
            Self::Array { .. } if spelling == Spelling::Raw => {
                let Self::Array {
                    element,
                    rank,
                    bounds,
                } = self
                else {
                    return;
                };
                element.write(spelling, depth + 1, out);
                write_rank(*rank, *bounds, out);
            }
            Self::Array { .. } => {
                // C# writes the outermost rank first: `int[,][]` is a matrix of rows.
                let (mut inner, mut ranks) = (self, Vec::new());
                while let Self::Array {
                    element,
                    rank,
                    bounds,
                } = inner
                {
                    ranks.push((*rank, *bounds));
                    inner = element;
                }
                inner.write(spelling, depth + 1, out);
                ranks
                    .into_iter()
                    .for_each(|(rank, bounds)| write_rank(rank, bounds, out));
            }
            Self::Pointer(to) => {
                to.write(spelling, depth + 1, out);
                out.push('*');
            }
            Self::ByRef(to) => {
                out.push_str("ref ");
                to.write(spelling, depth + 1, out);
            }
            Self::Function(types) => {
                out.push_str("delegate*");
                write_arguments(types, '<', '>', spelling, depth, out);
            }
            Self::Text(text) => out.push_str(text),
        }
    }

    /// The class the programmer wrote around one that the compiler made, and that one's kind.
    pub fn made_inside(&self) -> Option<(Self, &Generated)> {
        let Self::Named {
            namespace,
            parts,
            arguments,
        } = self
        else {
            return None;
        };
        let generated = parts.last()?.generated.as_ref()?;
        let written: Vec<Part> = parts
            .iter()
            .take_while(|p| p.generated.is_none())
            .cloned()
            .collect();
        let arity: usize = written.iter().map(|p| split_arity(&p.name).1).sum();
        let owner = Self::Named {
            namespace: namespace.clone(),
            arguments: arguments.iter().take(arity).cloned().collect(),
            parts: written,
        };
        Some((owner, generated))
    }
}

fn write_rank(rank: u32, bounds: bool, out: &mut String) {
    out.push('[');
    if bounds && rank == 1 {
        out.push('*');
    }
    (1..rank).for_each(|_| out.push(','));
    out.push(']');
}

/// The state machine inside of the box that the heap holds for a running async method.
fn async_box<'a>(
    namespace: &str,
    parts: &[Part],
    arguments: &'a [TypeName],
) -> Option<&'a TypeName> {
    let name = parts.last()?.name.as_str();
    let is_box = matches!(
        name,
        "AsyncStateMachineBox`1" | "DebugFinalizableAsyncStateMachineBox`1" | "StateMachineBox`1"
    );
    if namespace != "System.Runtime.CompilerServices" || !is_box {
        return None;
    }
    let machine = arguments.last()?;
    let TypeName::Named { parts, .. } = machine else {
        return None;
    };
    parts
        .last()?
        .generated
        .as_ref()?
        .is_async()
        .then_some(machine)
}

fn write_named(
    namespace: &str,
    parts: &[Part],
    arguments: &[TypeName],
    spelling: Spelling,
    depth: usize,
    out: &mut String,
) {
    if spelling != Spelling::Short && !namespace.is_empty() {
        out.push_str(namespace);
        out.push('.');
    }
    let mut rest = arguments;
    if spelling == Spelling::Raw {
        let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
        out.push_str(&names.join("+"));
        write_arguments(rest, '[', ']', spelling, depth, out);
        return;
    }
    // A generated class is written as what its innermost origin says, after the classes the programmer wrote.
    let written = parts
        .iter()
        .position(|p| p.generated.is_some())
        .unwrap_or(parts.len());
    let mut owner = String::new();
    for part in &parts[..written] {
        if !owner.is_empty() {
            owner.push('.');
        }
        let (name, arity) = split_arity(&part.name);
        owner.push_str(generated::file_scoped(name).unwrap_or(name));
        let (own, others) = rest.split_at(arity.min(rest.len()));
        write_arguments(own, '<', '>', spelling, depth, &mut owner);
        rest = others;
    }
    let Some(last) = parts[written..].last() else {
        out.push_str(&owner);
        // Arguments that no arity suffix announced (names from obfuscators).
        write_arguments(rest, '<', '>', spelling, depth, out);
        return;
    };
    let mut text = String::new();
    let mut method_arguments = String::new();
    write_arguments(rest, '<', '>', spelling, depth, &mut method_arguments);
    // A closure inside of a state machine, or the other way round: the outer one knows the method's name.
    let outer = parts[written..]
        .iter()
        .rev()
        .skip(1)
        .find_map(|p| p.generated.as_ref());
    let generated = last.generated.as_ref().or(outer);
    match generated {
        Some(generated) => generated.write(&owner, &method_arguments, outer, &mut text),
        None => text.push_str(&last.name),
    }
    // The namespace stands before the owner, words like `lambda in` before the namespace.
    match text
        .find(owner.as_str())
        .filter(|at| *at > 0 && !owner.is_empty())
    {
        Some(at) => {
            let namespace_at = if spelling == Spelling::Full && !namespace.is_empty() {
                namespace.len() + 1
            } else {
                0
            };
            out.insert_str(out.len() - namespace_at, &text[..at]);
            out.push_str(&text[at..]);
        }
        None => out.push_str(&text),
    }
}

fn write_arguments(
    arguments: &[TypeName],
    open: char,
    close: char,
    spelling: Spelling,
    depth: usize,
    out: &mut String,
) {
    if arguments.is_empty() {
        return;
    }
    out.push(open);
    for (i, argument) in arguments.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        argument.write(spelling, depth + 1, out);
    }
    out.push(close);
}

/// `` Dictionary`2 `` is `Dictionary` with two parameters of its own.
pub(crate) fn split_arity(name: &str) -> (&str, usize) {
    match name.rsplit_once('`') {
        Some((plain, arity)) if !plain.is_empty() => {
            arity.parse().map_or((name, 0), |arity| (plain, arity))
        }
        _ => (name, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(namespace: &str, parts: &[&str], arguments: Vec<TypeName>) -> TypeName {
        let parts = parts
            .iter()
            .map(|p| Part {
                name: (*p).into(),
                generated: Generated::of(p, &[], &[], &[]),
            })
            .collect();
        TypeName::Named {
            namespace: namespace.into(),
            parts,
            arguments,
        }
    }

    fn string() -> TypeName {
        plain("System", &["String"], vec![])
    }

    fn order() -> TypeName {
        plain("Shop", &["Order"], vec![])
    }

    fn array(element: TypeName, rank: u32) -> TypeName {
        TypeName::Array {
            element: Box::new(element),
            rank,
            bounds: rank > 1,
        }
    }

    #[track_caller]
    fn check(name: &TypeName, full: &str, short: &str) {
        assert_eq!(name.spell(Spelling::Full), full);
        assert_eq!(name.spell(Spelling::Short), short);
    }

    #[test]
    fn generics_lose_their_arity_and_keep_their_arguments() {
        let name = plain(
            "System.Collections.Generic",
            &["Dictionary`2"],
            vec![string(), order()],
        );
        check(
            &name,
            "System.Collections.Generic.Dictionary<System.String, Shop.Order>",
            "Dictionary<String, Order>",
        );
        assert_eq!(
            name.spell(Spelling::Raw),
            "System.Collections.Generic.Dictionary`2[System.String, Shop.Order]"
        );
    }

    #[test]
    fn nested_classes_share_out_the_arguments_by_arity() {
        let name = plain(
            "Shop",
            &["Pair`2", "Node`1"],
            vec![string(), order(), string()],
        );
        check(
            &name,
            "Shop.Pair<System.String, Shop.Order>.Node<System.String>",
            "Pair<String, Order>.Node<String>",
        );
        let name = plain("Shop", &["Pair`2", "Slot"], vec![string(), order()]);
        check(
            &array(name, 1),
            "Shop.Pair<System.String, Shop.Order>.Slot[]",
            "Pair<String, Order>.Slot[]",
        );
    }

    #[test]
    fn array_ranks_read_from_the_outside_in() {
        check(
            &array(array(order(), 1), 2),
            "Shop.Order[,][]",
            "Order[,][]",
        );
        assert_eq!(
            array(array(order(), 1), 2).spell(Spelling::Raw),
            "Shop.Order[][,]"
        );
        let odd = TypeName::Array {
            element: Box::new(order()),
            rank: 1,
            bounds: true,
        };
        assert_eq!(odd.spell(Spelling::Full), "Shop.Order[*]");
    }

    #[test]
    fn an_endless_name_is_cut() {
        let mut name = order();
        for _ in 0..200 {
            name = plain("N", &["G`2"], vec![name.clone(), string()]);
        }
        assert!(name.spell(Spelling::Full).len() <= limits::TYPE_NAME_BYTES + 8);
    }

    #[test]
    fn state_machines_and_closures_are_named_after_their_method() {
        let machine = |fields: &[&str], name: &str| Part {
            name: name.into(),
            generated: Generated::of(name, fields, &[], &[]),
        };
        let cart = Part {
            name: "Cart".into(),
            generated: None,
        };
        let named = |parts: Vec<Part>, arguments| TypeName::Named {
            namespace: "Shop".into(),
            parts,
            arguments,
        };
        let add = named(
            vec![cart.clone(), machine(&["<>t__builder"], "<AddAsync>d__5")],
            vec![],
        );
        check(&add, "Shop.Cart.AddAsync (async)", "Cart.AddAsync (async)");
        let items = named(
            vec![cart.clone(), machine(&["<>2__current"], "<Items>d__7`1")],
            vec![order()],
        );
        check(
            &items,
            "Shop.Cart.Items<Shop.Order> (iterator)",
            "Cart.Items<Order> (iterator)",
        );
        let boxed = plain(
            "System.Runtime.CompilerServices",
            &["AsyncTaskMethodBuilder`1", "AsyncStateMachineBox`1"],
            vec![string(), add],
        );
        check(
            &boxed,
            "Shop.Cart.AddAsync (async)",
            "Cart.AddAsync (async)",
        );
        let closure = Part {
            name: "<>c__DisplayClass3_0".into(),
            generated: Generated::of("<>c__DisplayClass3_0", &[], &["<Load>b__0"], &[]),
        };
        check(
            &named(vec![cart.clone(), closure], vec![]),
            "lambda in Shop.Cart.Load",
            "lambda in Cart.Load",
        );
        let lambdas = Part {
            name: "<>c".into(),
            generated: Generated::of("<>c", &[], &[], &[]),
        };
        check(
            &named(vec![cart, lambdas], vec![]),
            "lambdas in Shop.Cart",
            "lambdas in Cart",
        );
    }

    #[test]
    fn anonymous_types_show_their_properties() {
        let parts = vec![Part {
            name: "<>f__AnonymousType0`2".into(),
            generated: Generated::of(
                "<>f__AnonymousType0`2",
                &[],
                &[],
                &["<Title>j__TPar", "<Amount>j__TPar"],
            ),
        }];
        let name = TypeName::Named {
            namespace: String::new(),
            parts,
            arguments: vec![string(), order()],
        };
        check(
            &name,
            "anonymous { Title, Amount }<System.String, Shop.Order>",
            "anonymous { Title, Amount }<String, Order>",
        );
    }
}
