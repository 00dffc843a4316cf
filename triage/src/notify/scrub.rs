//! Shapes of secrets, replaced in every string before it leaves the node.
//!
//! Type names and evidence come from other people's processes; a connection string in a static field's name or a card
//! number in a command line must not reach a chat. What is recognized is replaced whole or, where the key tells the
//! reader what was there, up to the key: `Password=***`. In doubt more is replaced rather than less.
//!
//! Scrubbing twice changes nothing.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// What stands where a value was.
const HIDDEN: &str = "***";

/// One shape of a secret.
struct Shape {
    /// Cheap test before the expression runs; any of these, compared without case, must occur.
    hints: &'static [&'static str],
    pattern: &'static str,
    /// What to write instead, or the match itself when it was no secret after all.
    replace: fn(&Captures<'_>) -> String,
}

/// Every shape, the widest first: what an earlier one replaced, a later one need not recognize.
const SHAPES: &[Shape] = &[
    // PEM, also when the end is cut off.
    Shape {
        hints: &["-----begin"],
        pattern: r"-----BEGIN [A-Z0-9 ]{1,40}-----(?s:.*?)(?:-----END [A-Z0-9 ]{1,40}-----|\z)",
        replace: |_| "[PEM block]".into(),
    },
    // scheme://user:password@host, and a lone token as the user.
    Shape {
        hints: &["://"],
        pattern: r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^/\s@?#]{1,512}@",
        replace: |found| format!("{}{HIDDEN}@", &found["scheme"]),
    },
    // Addresses that are secrets as a whole.
    Shape {
        hints: &["hooks.slack.com", "discord", "webhook.office.com"],
        pattern: r"(?i)https://(?:hooks\.slack\.com/|(?:\w+\.)?discord(?:app)?\.com/api/webhooks/|[\w-]+\.webhook\.office\.com/)[^\s<>]+",
        replace: |_| "[webhook address]".into(),
    },
    // Connection strings: the value runs to the semicolon and may contain spaces.
    Shape {
        hints: &[
            "password",
            "pwd",
            "accountkey",
            "sharedaccess",
            "passwd",
            "passphrase",
        ],
        pattern: r#"(?i)(?P<key>\b(?:password|passwd|pwd|passphrase|accountkey|sharedaccesskey|sharedaccesssignature)["']?\s*=\s*["']?)(?P<value>[^;"'\r\n]+)"#,
        replace: keep_key,
    },
    // key=value of addresses, headers and command lines.
    Shape {
        hints: &["sig", "token", "secret", "key", "password", "credential"],
        pattern: r#"(?i)(?P<key>(?:^|[\s?&;,{("'-])(?:sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token|(?:[a-z]+[_-])*(?:token|secret|password|api[_-]?key|access[_-]?key(?:[_-]?id)?|secret[_-]?key|account[_-]?key|private[_-]?key)|apikey|accesskey|clientsecret|accesstoken|refreshtoken|idtoken|subscription-key)=)(?P<value>[^&;\s"'<>]+)"#,
        replace: keep_key,
    },
    // "password": "value" of JSON, also with escaped quotes.
    Shape {
        hints: &["token", "secret", "key", "password", "pwd"],
        pattern: r#"(?i)(?P<key>\\?["'](?:[a-z]+[_-]?)*(?:password|pwd|secret|token|api_?key|access_?key|account_?key|private_?key)\\?["']\s*:\s*\\?["'])(?P<value>[^"'\\]+)"#,
        replace: keep_key,
    },
    // Password: value, as people log it.
    Shape {
        hints: &["password", "passwd", "api-key", "api_key", "apikey"],
        pattern: r"(?i)(?P<key>\b(?:password|passwd|x-api-key|api[-_]?key):\s*)(?P<value>[^\s,;]+)",
        replace: keep_key,
    },
    Shape {
        hints: &["bearer", "basic", "sharedkey"],
        pattern: r"(?i)(?P<key>\b(?:bearer|basic|sharedkey(?:lite)?)\s+)(?P<value>[A-Za-z0-9._~+/:=-]{12,})",
        // "basic authentication" is prose: a credential has a digit or is long.
        replace: |found| {
            let value = &found["value"];
            let looks_random = value.len() >= 24 || value.bytes().any(|b| b.is_ascii_digit());
            if looks_random {
                keep_key(found)
            } else {
                found[0].to_owned()
            }
        },
    },
    // JSON web tokens, signed and encrypted.
    Shape {
        hints: &["eyj"],
        pattern: r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*){0,3}",
        replace: |_| "[JWT]".into(),
    },
    // Keys with a prefix of their own: AWS, Slack, GitHub, GitLab, npm, PyPI, Stripe, SendGrid, OpenAI-style, Matrix,
    // Standard Webhooks.
    Shape {
        hints: &["a3t", "akia", "asia", "aroa", "aida"],
        pattern: r"\b(?:A3T[A-Z0-9]|AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b",
        replace: key,
    },
    Shape {
        hints: &["xox", "xapp-"],
        pattern: r"\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}",
        replace: key,
    },
    Shape {
        hints: &[
            "ghp_",
            "gho_",
            "ghu_",
            "ghs_",
            "ghr_",
            "github_pat_",
            "glpat-",
        ],
        pattern: r"\b(?:gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{20,}",
        replace: key,
    },
    Shape {
        hints: &["npm_", "pypi-"],
        pattern: r"\b(?:npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,})",
        replace: key,
    },
    Shape {
        hints: &["sk_", "rk_", "pk_", "sk-", "sg."],
        pattern: r"\b(?:[srp]k_(?:live|test)_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})",
        replace: key,
    },
    Shape {
        hints: &["aiza"],
        pattern: r"\bAIza[A-Za-z0-9_-]{35}",
        replace: key,
    },
    Shape {
        hints: &["syt_", "whsec_"],
        pattern: r"\b(?:syt_[A-Za-z0-9_]{10,}|whsec_[A-Za-z0-9+/=]{16,})",
        replace: key,
    },
    // Entra ID client secrets, and storage keys without their `AccountKey=`.
    Shape {
        hints: &["q~"],
        pattern: r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}",
        replace: key,
    },
    Shape {
        hints: &["=="],
        pattern: r"[A-Za-z0-9+/]{86}==",
        replace: key,
    },
    // Payment cards: 13 to 19 digits in the usual groups, a known first digit, and the check digit of Luhn.
    Shape {
        hints: &[],
        pattern: r"\b[2-6]\d(?:[ -]?\d){11,17}\b",
        replace: |found| {
            if is_card(&found[0]) {
                "[card number]".into()
            } else {
                found[0].to_owned()
            }
        },
    },
];

static COMPILED: LazyLock<Vec<(&'static Shape, Regex)>> = LazyLock::new(|| {
    SHAPES
        .iter()
        .map(|shape| {
            (
                shape,
                Regex::new(shape.pattern)
                    .expect("every pattern compiles: test every_shape_compiles"),
            )
        })
        .collect()
});

fn keep_key(found: &Captures<'_>) -> String {
    format!("{}{HIDDEN}", &found["key"])
}

fn key(_: &Captures<'_>) -> String {
    "[key]".into()
}

/// The text with every recognized secret replaced.
pub fn text(input: &str) -> Cow<'_, str> {
    let mut output = Cow::Borrowed(input);
    let lower = input.to_ascii_lowercase();
    for (shape, regex) in COMPILED.iter() {
        if !shape.hints.is_empty() && !shape.hints.iter().any(|hint| lower.contains(hint)) {
            continue;
        }
        if let Cow::Owned(replaced) = regex.replace_all(&output, shape.replace) {
            output = Cow::Owned(replaced);
        }
    }
    output
}

/// Scrubs every string of a document, keys of objects included, and values whose key says that they are secret.
pub fn json(value: &mut Value) {
    match value {
        Value::String(string) => {
            if let Cow::Owned(scrubbed) = text(string) {
                *string = scrubbed;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(json),
        Value::Object(map) => {
            for (name, item) in map.iter_mut() {
                if item.is_string() && names_a_secret(name) {
                    *item = Value::String(HIDDEN.into());
                } else {
                    json(item);
                }
            }
            if map.keys().any(|name| matches!(text(name), Cow::Owned(_))) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(name, item)| (text(&name).into_owned(), item))
                    .collect();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces a secret that is known literally, wherever an echo of it occurs.
pub fn literal<'a>(input: &'a str, secret: &str) -> Cow<'a, str> {
    if secret.len() >= 4 && input.contains(secret) {
        Cow::Owned(input.replace(secret, HIDDEN))
    } else {
        Cow::Borrowed(input)
    }
}

fn names_a_secret(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    [
        "password",
        "passwd",
        "pwd",
        "secret",
        "clientsecret",
        "apikey",
        "accesstoken",
        "refreshtoken",
        "accountkey",
    ]
    .contains(&plain.as_str())
}

/// Whether the digits are those of a payment card: length, and the check digit of Luhn (ISO/IEC 7812-1, annex B).
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    // Secrets are put together at run time, so that scanners of this repository find none.
    fn glue(parts: &[&str]) -> String {
        parts.concat()
    }

    #[test]
    fn every_shape_compiles() {
        assert_eq!(COMPILED.len(), SHAPES.len());
    }

    #[test]
    fn every_shape_is_recognized() {
        let storage = glue(&[
            "AccountName=shop;Account",
            "Key=",
            &"Ab3/".repeat(21),
            "Q9==",
            ";EndpointSuffix=core.windows.net",
        ]);
        let cases: Vec<(String, &str, &str)> = vec![
            (storage, "AccountKey=***;EndpointSuffix", "Ab3/Ab3/"),
            (
                glue(&[
                    "Server=db;User Id=sa;Pass",
                    "word=corr ect&horse;Encrypt=true",
                ]),
                "Password=***;Encrypt=true",
                "horse",
            ),
            (
                glue(&["Server=db;P", "wd='x y';App=1"]),
                "Pwd='***';App=1",
                "x y",
            ),
            (
                glue(&["Endpoint=sb://a/;SharedAccess", "Key=abc123=;EntityPath=q"]),
                "SharedAccessKey=***;EntityPath",
                "abc123",
            ),
            (
                glue(&[
                    "auth ey",
                    "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sIgnAture_-x end",
                ]),
                "auth [JWT] end",
                "sIgnAture",
            ),
            (
                glue(&[
                    "-----BEGIN RSA PRIVATE",
                    " KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----.",
                ]),
                "[PEM block].",
                "MIIE",
            ),
            (
                glue(&["-----BEGIN PRIVATE", " KEY-----\nMIIEcut"]),
                "[PEM block]",
                "MIIEcut",
            ),
            (
                glue(&["Authorization: Bear", "er abcdef0123456789"]),
                "Bearer ***",
                "abcdef0123",
            ),
            (
                glue(&["Authorization: Ba", "sic dXNlcjpwYXNzd29yZA=="]),
                "Basic ***",
                "dXNlcjp",
            ),
            (
                glue(&["key AKI", "AIOSFODNN7EXAMPLE."]),
                "key [key].",
                "IOSFODNN7",
            ),
            (
                glue(&["aws_secret_access", "_key=wJalrXUtnFEMI/K7MDENG x"]),
                "aws_secret_access_key=*** x",
                "wJalr",
            ),
            (
                glue(&["xox", "b-123456789012-abcdefABCDEF"]),
                "[key]",
                "123456789012",
            ),
            (
                glue(&[
                    "https://hooks.slack",
                    ".com/services/T000/B000/XXXXXXXX more",
                ]),
                "[webhook address] more",
                "T000",
            ),
            (
                glue(&["gh", "p_abcdefghijklmnopqrstuvwxyz0123456789"]),
                "[key]",
                "abcdefghij",
            ),
            (
                glue(&["github_", "pat_11ABCDEFG0abcdefghij_klmnop"]),
                "[key]",
                "11ABC",
            ),
            (
                "paid with 4111 1111 1111 1111 today".into(),
                "paid with [card number] today",
                "4111",
            ),
            ("5500-0000-0000-0004".into(), "[card number]", "5500"),
            (
                glue(&["amqp://us", "er:pa:ss@mq.local:5672/x"]),
                "amqp://***@mq.local:5672/x",
                "pa:ss",
            ),
            (
                glue(&[
                    "https://x.blob.core.windows.net/c/b?sv=1&s",
                    "ig=aB%2Bc%3D&se=2",
                ]),
                "sv=1&sig=***&se=2",
                "aB%2Bc",
            ),
            (
                glue(&["{\"client_", "secret\": \"abc\", \"n\": 1}"]),
                "\"client_secret\": \"***\", \"n\": 1",
                "\"abc\"",
            ),
            (
                glue(&["--pass", "word=hunter2 --x"]),
                "password=***",
                "hunter2",
            ),
            (
                glue(&["x-api", "-key: 99887766"]),
                "x-api-key: ***",
                "99887766",
            ),
            (
                glue(&["sk_", "live_abcdefghijklmnop1234"]),
                "[key]",
                "abcdefgh",
            ),
        ];
        for (input, expected, gone) in cases {
            let output = text(&input);
            assert!(
                output.contains(expected),
                "{input:?} became {output:?}, expected {expected:?}"
            );
            assert!(
                !output.contains(gone),
                "{input:?} became {output:?}, which still holds {gone:?}"
            );
        }
    }

    #[test]
    fn what_a_diagnosis_says_is_left_alone() {
        for plain in [
            "static Shop.Pricing.QuoteCache.Quotes",
            "Dictionary<String, Order>",
            "System.Threading.CancellationToken",
            "Shop.Security.TokenCache.s_tokens keeps 1.52 GB (78% of commit)",
            "handles.pinned.count = 12 345 and loh.free = 870 MB",
            "Order[] at 0x7f3a12345678 holds 4111111111111112 bytes",
            "captured 2026-11-22T19:22:33.123456789Z on node-07, pid 4711",
            "basic authentication failed for the bearer of this message",
            "the password field of PasswordBox is a key type: Key",
            "8b1a9953c4611296a827abf8c47804d7e6c49c6b2f1a5d7a1c3b2e4f5a6b7c8d",
            "https://reports.example.com/Shop/Cart/2026-11-22?id=42",
            "GetTokenAsync awaits SecretClient.GetSecretAsync",
        ] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn documents_are_scrubbed_everywhere() {
        let mut document = serde_json::json!({
            "a": ["Password=abc;x", { "Client-Secret": "zzz", "n": 4111111111111111u64 }],
            "Pwd=1234": true,
        });
        json(&mut document);
        let expected = serde_json::json!({
            "a": ["Password=***;x", { "Client-Secret": "***", "n": 4111111111111111u64 }],
            "Pwd=***": true,
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn a_known_secret_is_replaced_wherever_it_is_echoed() {
        assert_eq!(
            literal("no such path /T1/B2/x9", "/T1/B2/x9"),
            "no such path ***"
        );
        assert_eq!(literal("abc", "a"), "abc");
    }

    proptest! {
        #[test]
        fn scrubbing_twice_changes_nothing(input in r#"([ -~é]{0,40}|Password=|sig=|Bearer |eyJ|://|@|;|"token":"|[0-9 -]{13,19}|-----BEGIN X-----){0,6}"#) {
            let once = text(&input).into_owned();
            prop_assert_eq!(text(&once), once.as_str());
        }

        #[test]
        fn a_password_never_survives(prefix in "[ -~]{0,30}", value in "[a-z0-9]{8,20}") {
            let input = format!("{prefix};Password={value};");
            prop_assert!(!text(&input).contains(&value) || prefix.contains(&value));
        }
    }
}
