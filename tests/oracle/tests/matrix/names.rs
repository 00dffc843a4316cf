//! Names of types as SOS prints them, made comparable.

/// SOS names the assembly of every type argument: `Dictionary`2[[System.String, System.Private.CoreLib],[…]]`.
pub fn without_assemblies(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    let mut depth = 0_usize;
    while let Some(next) = rest.chars().next() {
        if let Some(inside) = rest.strip_prefix("[[") {
            out.push('[');
            depth += 1;
            rest = inside;
        } else if depth > 0 && rest.starts_with(", ") {
            // The assembly, up to the bracket that closes this argument.
            let end = rest.find(']').unwrap();
            rest = &rest[end + 1..];
            if let Some(more) = rest.strip_prefix(",[") {
                out.push_str(", ");
                rest = more;
            } else if let Some(after) = rest.strip_prefix(']') {
                out.push(']');
                depth -= 1;
                rest = after;
            }
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

#[test]
fn assemblies_are_taken_out_of_names() {
    assert_eq!(
        without_assemblies("A`2[[B`1[[C, x]][], y],[D+E, z]][]"),
        "A`2[B`1[C][], D+E][]"
    );
    assert_eq!(without_assemblies("System.Int32[,]"), "System.Int32[,]");
}
