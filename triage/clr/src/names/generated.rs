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
    /// `new { … }` with its properties.
    Anonymous(Vec<String>),
    /// Anything else between angle brackets.
    Other(String),
}

impl Generated {
    /// Reads a class's name; fields, methods and generic parameters tell the kinds apart.
    pub fn of(name: &str, fields: &[&str], methods: &[&str], parameters: &[&str]) -> Option<Self> {
        let (inner, rest) = split(name)?;
        let rest = super::split_arity(rest).0;
        if rest == "d" || rest.starts_with("d__") {
            let method = member(inner);
            let has = |field: &str| fields.contains(&field);
            return Some(match (has("<>t__builder"), has("<>2__current")) {
                _ if has("<>v__promiseOfValueOrEnd") => Self::AsyncIterator(method),
                (true, _) => Self::Async(method),
                (false, true) => Self::Iterator(method),
                // Without field names: methods called …Async are async by convention.
                _ if method.ends_with("Async") => Self::Async(method),
                _ => Self::Iterator(method),
            });
        }
        Some(match rest {
            "c" => Self::Lambdas,
            _ if rest.starts_with("c__DisplayClass") => {
                let origin = methods.iter().find_map(|m| {
                    split(m).filter(|(_, rest)| rest.starts_with("b__") || rest.starts_with("g__"))
                });
                Self::Closure(origin.map(|(method, _)| member(method)))
            }
            _ if rest.starts_with("f__AnonymousType") => Self::Anonymous(
                parameters
                    .iter()
                    .filter_map(|p| split(p))
                    .map(|(property, _)| property.to_owned())
                    .collect(),
            ),
            _ => Self::Other(name.to_owned()),
        })
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
                match method.strip_prefix("lambda in ") {
                    Some(method) => out.push_str(&format!(
                        "lambda in {owner}{dot}{method}{arguments} ({kind})"
                    )),
                    None => out.push_str(&format!("{owner}{dot}{method}{arguments} ({kind})")),
                }
            }
            Self::Closure(method) => {
                let method = method.as_deref().or(outer.and_then(Self::method));
                match method {
                    Some(method) => {
                        let method = method.strip_prefix("lambda in ").unwrap_or(method);
                        out.push_str(&format!("lambda in {owner}{dot}{method}{arguments}"));
                    }
                    None => out.push_str(&format!("lambda in {owner}{arguments}")),
                }
            }
            Self::Lambdas => out.push_str(&format!("lambdas in {owner}{arguments}")),
            Self::Anonymous(properties) if properties.is_empty() => {
                out.push_str(&format!("{owner}{dot}anonymous{arguments}"))
            }
            Self::Anonymous(properties) => out.push_str(&format!(
                "{owner}{dot}anonymous {{ {} }}{arguments}",
                properties.join(", ")
            )),
            Self::Other(name) => out.push_str(&format!(
                "{owner}{dot}{}{arguments}",
                super::split_arity(name).0
            )),
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

/// A method's name as it was written: `<Load>b__3_0` is a lambda in `Load`, `<Load>g__Each|3_0` the local function `Load.Each`.
pub(crate) fn member(name: &str) -> String {
    let Some((inner, rest)) = split(name) else {
        return name.to_owned();
    };
    if let Some(local) = rest.strip_prefix("g__") {
        let local = local.split('|').next().unwrap_or(local);
        return format!("{}.{local}", member(inner));
    }
    if rest.starts_with("b__") {
        let method = member(inner);
        return if method.starts_with("lambda in ") {
            method
        } else {
            format!("lambda in {method}")
        };
    }
    name.to_owned()
}

/// A field's name as it was written: the property behind a backing field, the event behind its delegate, else itself.
pub(crate) fn field(name: &str) -> &str {
    match split(name) {
        Some((property, "k__BackingField")) if !property.is_empty() => property,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_behind_properties_bear_the_property_name() {
        assert_eq!(field("<Name>k__BackingField"), "Name");
        assert_eq!(field("_items"), "_items");
        assert_eq!(field("<>9__3_0"), "<>9__3_0");
    }

    #[test]
    fn lambdas_and_local_functions_are_traced_to_their_method() {
        assert_eq!(member("<Load>b__3_0"), "lambda in Load");
        assert_eq!(member("<<Load>b__3_0>b__1"), "lambda in Load");
        assert_eq!(member("<Load>g__Each|3_0"), "Load.Each");
        assert_eq!(member("Load"), "Load");
        assert_eq!(
            Generated::of("<<Load>b__0>d", &["<>t__builder"], &[], &[]),
            Some(Generated::Async("lambda in Load".into()))
        );
    }

    #[test]
    fn an_unclosed_bracket_is_no_generated_name() {
        assert_eq!(Generated::of("<Load", &[], &[], &[]), None);
        assert_eq!(Generated::of("Order", &[], &[], &[]), None);
    }
}
