//! What the C# compiler makes up, and what the programmer wrote instead.
//!
//! The patterns are those of Roslyn's `GeneratedNames` (`<method>d__N`, `<>c__DisplayClass`, `<>f__AnonymousType`, …).

/// What a generated class stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Generated {
    /// State machine of an async method.
    Async(String),
    /// State machine of an iterator.
    Iterator(String),
    /// State machine of an async iterator.
    AsyncIterator(String),
    /// Variables that a lambda captured; the method when one of its lambdas says so.
    Closure(Option<String>),
    /// Lambdas that capture nothing.
    Lambdas,
    /// Delegates of methods that were named without calling them.
    MethodGroups,
    /// Call sites of `dynamic`.
    CallSites,
    /// The buffer behind a `fixed` field.
    FixedBuffer(String),
    /// `new { … }` with its properties.
    Anonymous(Vec<String>),
    /// A helper that has a name of its own: the list behind a collection expression, a delegate type.
    Helper(String),
    /// Anything else between angle brackets.
    Other(String),
}

impl Generated {
    /// Reads a class's name; fields, methods and generic parameters tell the kinds apart.
    pub fn of(name: &str, fields: &[&str], methods: &[&str], parameters: &[&str]) -> Option<Self> {
        let name = super::split_arity(name).0;
        if let Some(other) = visual_basic(name, fields, methods) {
            return Some(other);
        }
        if file_scoped(name).is_some() {
            return None;
        }
        let (inner, rest) = split(name)?;
        if rest == "d" || rest.starts_with("d__") {
            return Some(Self::machine(source_method(inner), fields));
        }
        let is = |kind: &str| {
            rest.strip_prefix(kind)
                .is_some_and(|r| r.is_empty() || r.starts_with("__"))
        };
        Some(match rest {
            _ if rest.starts_with("c__DisplayClass") => Self::closure(methods),
            // With a number: those of a generic method.
            _ if is("c") => Self::Lambdas,
            _ if is("O") => Self::MethodGroups,
            _ if is("o") => Self::CallSites,
            "e__FixedBuffer" => Self::FixedBuffer(inner.to_owned()),
            _ if rest.starts_with("f__AnonymousType") => Self::Anonymous(
                parameters
                    .iter()
                    .filter_map(|p| split(p))
                    .map(|(property, _)| property.to_owned())
                    .collect(),
            ),
            _ if rest.starts_with("f__AnonymousDelegate")
                || rest.starts_with("A{")
                || rest.starts_with("F{") =>
            {
                Self::Helper("anonymous delegate".to_owned())
            }
            _ => match rest.strip_prefix("z__").or(rest.strip_prefix("y__")) {
                Some(helper) => Self::Helper(helper.to_owned()),
                None => Self::Other(name.to_owned()),
            },
        })
    }

    /// A state machine, by its fields.
    fn machine(method: String, fields: &[&str]) -> Self {
        let has = |field: &str| fields.contains(&field);
        match (has("<>t__builder"), has("<>2__current")) {
            _ if has("<>v__promiseOfValueOrEnd") => Self::AsyncIterator(method),
            (true, _) => Self::Async(method),
            (false, true) => Self::Iterator(method),
            // Without field names: methods called …Async are async by convention.
            _ if method.ends_with("Async") => Self::Async(method),
            _ => Self::Iterator(method),
        }
    }

    /// Captured variables, by the methods of the lambdas that share them.
    fn closure(methods: &[&str]) -> Self {
        let origin = methods.iter().find_map(|m| {
            split(m).filter(|(_, rest)| rest.starts_with("b__") || rest.starts_with("g__"))
        });
        Self::Closure(origin.map(|(method, _)| source_method(method)))
    }

    /// An async method of some kind.
    pub fn is_async(&self) -> bool {
        matches!(self, Self::Async(_) | Self::AsyncIterator(_))
    }

    /// Writes it for a reader; `owner` is the class the programmer wrote, `outer` a generated class around this one.
    pub fn write(&self, owner: &str, arguments: &str, outer: Option<&Self>, out: &mut String) {
        let dot = if owner.is_empty() { "" } else { "." };
        match self {
            Self::Async(method) | Self::Iterator(method) | Self::AsyncIterator(method) => {
                let kind = match self {
                    Self::Async(_) => "async",
                    Self::Iterator(_) => "iterator",
                    _ => "async iterator",
                };
                let (lambda, method) = match method.strip_prefix(LAMBDA_IN) {
                    Some(method) => (LAMBDA_IN, method),
                    None => ("", method.as_str()),
                };
                let place = place(owner, method, arguments);
                out.push_str(&format!("{lambda}{place} ({kind})"));
            }
            Self::Closure(method) => {
                out.push_str(LAMBDA_IN);
                match method.as_deref().or(outer.and_then(Self::method)) {
                    Some(method) => {
                        let method = method.strip_prefix(LAMBDA_IN).unwrap_or(method);
                        out.push_str(&place(owner, method, arguments));
                    }
                    None => out.push_str(&format!("{owner}{arguments}")),
                }
            }
            Self::Lambdas => out.push_str(&format!("lambdas in {owner}{arguments}")),
            Self::MethodGroups => out.push_str(&format!("method groups in {owner}{arguments}")),
            Self::CallSites => out.push_str(&format!("dynamic call sites in {owner}{arguments}")),
            Self::FixedBuffer(field) => {
                out.push_str(&format!("{owner}{dot}{field} (fixed buffer)"));
            }
            Self::Anonymous(properties) if properties.is_empty() => {
                out.push_str(&format!("{owner}{dot}anonymous{arguments}"));
            }
            Self::Anonymous(properties) => out.push_str(&format!(
                "{owner}{dot}anonymous {{ {} }}{arguments}",
                properties.join(", ")
            )),
            Self::Helper(name) | Self::Other(name) => {
                out.push_str(&format!("{owner}{dot}{name}{arguments}"));
            }
        }
    }

    fn method(&self) -> Option<&str> {
        match self {
            Self::Async(method)
            | Self::Iterator(method)
            | Self::AsyncIterator(method)
            | Self::Closure(Some(method)) => Some(method),
            _ => None,
        }
    }
}

/// Worth a closer look: no programmer can write such a name.
pub(crate) fn may_be(name: &str) -> bool {
    name.starts_with('<') || name.contains('$')
}

/// How the names of lambdas begin.
const LAMBDA_IN: &str = "lambda in ";

/// A method in its class.
fn place(owner: &str, method: &str, arguments: &str) -> String {
    match method {
        ".ctor" => format!("{owner} constructor{arguments}"),
        ".cctor" => format!("{owner} static constructor{arguments}"),
        _ if owner.is_empty() => format!("{method}{arguments}"),
        _ => format!("{owner}.{method}{arguments}"),
    }
}

/// `<inner>rest`; angle brackets may nest inside.
fn split(name: &str) -> Option<(&str, &str)> {
    let inside = name.strip_prefix('<')?;
    let mut depth = 1;
    for (at, c) in inside.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&inside[..at], &inside[at + 1..]));
        }
    }
    None
}

/// The name of a class that is visible in its source file only: `<Cart>F0A…__Line` is `Line`.
pub(crate) fn file_scoped(name: &str) -> Option<&str> {
    let (file, rest) = split(name)?;
    let (hash, own) = rest.strip_prefix('F')?.split_once("__")?;
    let hexadecimal = hash.len() >= 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    (hexadecimal && !file.is_empty() && !own.is_empty()).then_some(own)
}

/// What the Visual Basic compiler makes up (`GeneratedNames` of its own): `VB$StateMachine_3_Load`, `_Closure$__3-0`.
fn visual_basic(name: &str, fields: &[&str], methods: &[&str]) -> Option<Generated> {
    if let Some(rest) = name.strip_prefix("VB$StateMachine_") {
        let method = rest.split_once('_').map_or(rest, |(_, method)| method);
        let iterator = fields.contains(&"$Current");
        let method = method.to_owned();
        return Some(if iterator {
            Generated::Iterator(method)
        } else {
            Generated::Async(method)
        });
    }
    if name == "_Closure$__" {
        return Some(Generated::Lambdas);
    }
    if name.starts_with("_Closure$__") {
        return Some(Generated::closure(methods));
    }
    name.starts_with("VB$AnonymousType_")
        .then(|| Generated::Anonymous(Vec::new()))
}

/// The method that the text between angle brackets names: properties by their own name, implementations of interfaces by the
/// member's, top-level statements as `Main`.
fn source_method(inner: &str) -> String {
    if inner == "<Main>$" {
        return "Main".to_owned();
    }
    if inner.starts_with('<') {
        return member(inner);
    }
    if inner.starts_with('.') {
        return inner.to_owned();
    }
    let own = inner.rsplit(['.', '-']).next().unwrap_or(inner);
    ["get_", "set_", "init_", "add_", "remove_"]
        .iter()
        .find_map(|accessor| own.strip_prefix(accessor))
        .unwrap_or(own)
        .to_owned()
}

/// A method's name as it was written: `<Load>b__3_0` is a lambda in `Load`, `<Load>g__Each|3_0` the local function `Load.Each`.
pub(crate) fn member(name: &str) -> String {
    let Some((inner, rest)) = split(name) else {
        return name.to_owned();
    };
    if let Some(local) = rest.strip_prefix("g__") {
        let local = local.split('|').next().unwrap_or(local);
        return format!("{}.{local}", source_method(inner));
    }
    if rest.starts_with("b__") {
        let method = source_method(inner);
        return if method.starts_with(LAMBDA_IN) {
            method
        } else {
            format!("{LAMBDA_IN}{method}")
        };
    }
    if (inner, rest) == ("Main", "$") {
        return "Main".to_owned();
    }
    name.to_owned()
}

/// A field's name as it was written: the property behind a backing field, the variable behind a hoisted one, the parameter behind
/// a captured one; else itself.
pub(crate) fn field(name: &str) -> &str {
    let Some((inner, rest)) = split(name).filter(|(inner, _)| !inner.is_empty()) else {
        return match name {
            "<>4__this" => "this",
            _ => name.strip_prefix("<>3__").unwrap_or(name),
        };
    };
    // `<total>5__2`: a local of a state machine.
    let hoisted = rest
        .strip_prefix("5__")
        .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    match rest {
        "k__BackingField" | "i__Field" | "P" => inner,
        _ if hoisted => inner,
        _ => name,
    }
}

/// What a static field of a generated class holds, and in which of the programmer's methods when the class's methods tell:
/// `<>9__3_0` of `<>c` is the delegate of the lambda `<Load>b__3_0`.
pub(crate) fn cached(class: &Generated, field: &str, methods: &[&str]) -> Option<Cached> {
    match class {
        Generated::Lambdas => {
            let Some(number) = field.strip_prefix("<>9__") else {
                return (field == "<>9").then_some(Cached::Lambdas);
            };
            let method = methods.iter().find_map(|m| {
                split(m).filter(|(_, rest)| rest.strip_prefix("b__") == Some(number))
            });
            Some(Cached::Lambda(method.map(|(m, _)| source_method(m))))
        }
        Generated::MethodGroups => split(field)
            .and_then(|(_, rest)| rest.strip_prefix("__"))
            .map(|method| Cached::MethodGroup(method.to_owned())),
        Generated::CallSites => Some(Cached::CallSite),
        _ => None,
    }
}

/// See [`cached`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cached {
    /// The one object whose methods are lambdas that capture nothing.
    Lambdas,
    /// The delegate of such a lambda.
    Lambda(Option<String>),
    /// The delegate of a method that was named without calling it.
    MethodGroup(String),
    /// A call site of `dynamic`.
    CallSite,
}

impl Cached {
    /// Writes it for a reader; `owner` is the full or short name of the class the programmer wrote.
    pub fn write(&self, owner: &str) -> String {
        match self {
            Self::Lambdas => format!("lambdas in {owner}"),
            Self::Lambda(Some(method)) => format!("cached lambda in {}", place(owner, method, "")),
            Self::Lambda(None) => format!("cached lambda in {owner}"),
            Self::MethodGroup(method) => format!("cached delegate of {method} in {owner}"),
            Self::CallSite => format!("dynamic call site in {owner}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_bear_the_name_that_was_written() {
        for (raw, written) in [
            ("<Name>k__BackingField", "Name"),
            ("<Title>i__Field", "Title"),
            ("<owner>P", "owner"),
            ("<total>5__2", "total"),
            ("<>3__first", "first"),
            ("<>4__this", "this"),
            ("_items", "_items"),
            ("<>9__3_0", "<>9__3_0"),
            ("<>1__state", "<>1__state"),
            ("<>t__builder", "<>t__builder"),
            ("<>7__wrap1", "<>7__wrap1"),
        ] {
            assert_eq!(field(raw), written, "{raw}");
        }
    }

    #[test]
    fn lambdas_and_local_functions_are_traced_to_their_method() {
        for (raw, written) in [
            ("<Load>b__3_0", "lambda in Load"),
            ("<<Load>b__3_0>b__1", "lambda in Load"),
            ("<Load>g__Each|3_0", "Load.Each"),
            ("<get_Items>b__1_0", "lambda in Items"),
            ("<System.IDisposable.Dispose>b__1_0", "lambda in Dispose"),
            ("<.ctor>b__2_0", "lambda in .ctor"),
            ("<<Main>$>b__0", "lambda in Main"),
            ("<Main>$", "Main"),
            ("Load", "Load"),
            ("get_Items", "get_Items"),
        ] {
            assert_eq!(member(raw), written, "{raw}");
        }
        assert_eq!(
            Generated::of("<<Load>b__0>d", &["<>t__builder"], &[], &[]),
            Some(Generated::Async("lambda in Load".into()))
        );
    }

    #[test]
    fn classes_are_told_apart() {
        let machine = ["<>1__state", "<>t__builder"];
        let iterator = ["<>1__state", "<>2__current"];
        let both = ["<>t__builder", "<>v__promiseOfValueOrEnd", "<>2__current"];
        for (name, fields, methods, expected) in [
            (
                "<LoadAsync>d__5",
                &machine[..],
                &[][..],
                Generated::Async("LoadAsync".into()),
            ),
            (
                "<Load>d__5`1",
                &iterator,
                &[],
                Generated::Iterator("Load".into()),
            ),
            (
                "<Load>d__5",
                &both,
                &[],
                Generated::AsyncIterator("Load".into()),
            ),
            (
                "<get_All>d__5",
                &iterator,
                &[],
                Generated::Iterator("All".into()),
            ),
            (
                "<System-Collections-Generic-IEnumerable<T>-GetEnumerator>d__3",
                &iterator,
                &[],
                Generated::Iterator("GetEnumerator".into()),
            ),
            (
                "<<Main>$>d__0",
                &machine,
                &[],
                Generated::Async("Main".into()),
            ),
            (
                "<>c__DisplayClass3_0",
                &[],
                &["<Load>b__0"],
                Generated::Closure(Some("Load".into())),
            ),
            (
                "<>c__DisplayClass3_0`2",
                &[],
                &[".ctor", "<Load>g__Each|1"],
                Generated::Closure(Some("Load".into())),
            ),
            (
                "<>c__DisplayClass3_0",
                &[],
                &[".ctor"],
                Generated::Closure(None),
            ),
            ("<>c", &[], &["<Load>b__0_0"], Generated::Lambdas),
            ("<>c__5`1", &[], &[], Generated::Lambdas),
            ("<>O", &[], &[], Generated::MethodGroups),
            ("<Load>O__3_0`1", &[], &[], Generated::MethodGroups),
            ("<>o__12", &[], &[], Generated::CallSites),
            (
                "<Bytes>e__FixedBuffer",
                &[],
                &[],
                Generated::FixedBuffer("Bytes".into()),
            ),
            (
                "<>z__ReadOnlyArray`1",
                &[],
                &[],
                Generated::Helper("ReadOnlyArray".into()),
            ),
            (
                "<>z__ReadOnlySingleElementList`1",
                &[],
                &[],
                Generated::Helper("ReadOnlySingleElementList".into()),
            ),
            (
                "<>y__InlineArray3`1",
                &[],
                &[],
                Generated::Helper("InlineArray3".into()),
            ),
            (
                "<>F{00000001}`2",
                &[],
                &[],
                Generated::Helper("anonymous delegate".into()),
            ),
            (
                "<>f__AnonymousDelegate0",
                &[],
                &[],
                Generated::Helper("anonymous delegate".into()),
            ),
            (
                "<PrivateImplementationDetails>",
                &[],
                &[],
                Generated::Other("<PrivateImplementationDetails>".into()),
            ),
            ("<Module>", &[], &[], Generated::Other("<Module>".into())),
            (
                "VB$StateMachine_3_LoadAsync",
                &[],
                &[],
                Generated::Async("LoadAsync".into()),
            ),
            (
                "VB$StateMachine_3_All",
                &["$Current"],
                &[],
                Generated::Iterator("All".into()),
            ),
            ("_Closure$__", &[], &[], Generated::Lambdas),
            (
                "_Closure$__3-0",
                &[],
                &["_Lambda$__0"],
                Generated::Closure(None),
            ),
        ] {
            assert_eq!(
                Generated::of(name, fields, methods, &[]),
                Some(expected),
                "{name}"
            );
        }
    }

    #[test]
    fn what_only_looks_generated_is_left_alone() {
        for name in ["<Load", "Order", "", "<>", "VB", "Order`1", "d__5"] {
            let found = Generated::of(name, &[], &[], &[]);
            assert!(
                matches!(&found, None | Some(Generated::Other(_))),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn classes_of_one_file_bear_their_own_name() {
        let hash = "A1".repeat(32);
        let name = format!("<Cart>F{hash}__Line");
        assert_eq!(file_scoped(&name), Some("Line"));
        assert_eq!(Generated::of(&name, &[], &[], &[]), None);
        assert_eq!(file_scoped("<Cart>Fxyz__Line"), None);
        assert_eq!(file_scoped("Line"), None);
    }

    #[test]
    fn cached_delegates_are_traced_to_their_lambda() {
        let methods = ["<Load>b__3_0", "<.cctor>b__4_1", "<<Main>$>b__0_0"];
        let write = |field: &str| {
            cached(&Generated::Lambdas, field, &methods).map(|c| c.write("Shop.Cart"))
        };
        assert_eq!(write("<>9").unwrap(), "lambdas in Shop.Cart");
        assert_eq!(
            write("<>9__3_0").unwrap(),
            "cached lambda in Shop.Cart.Load"
        );
        assert_eq!(
            write("<>9__4_1").unwrap(),
            "cached lambda in Shop.Cart static constructor"
        );
        assert_eq!(
            write("<>9__0_0").unwrap(),
            "cached lambda in Shop.Cart.Main"
        );
        assert_eq!(write("<>9__7_7").unwrap(), "cached lambda in Shop.Cart");
        assert_eq!(write("_other"), None);
        let group = cached(&Generated::MethodGroups, "<0>__Parse", &[]).unwrap();
        assert_eq!(
            group.write("Shop.Cart"),
            "cached delegate of Parse in Shop.Cart"
        );
        let site = cached(&Generated::CallSites, "<>p__0", &[]).unwrap();
        assert_eq!(site.write("Shop.Cart"), "dynamic call site in Shop.Cart");
    }
}
