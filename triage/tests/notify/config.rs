//! `[[notify]]` blocks as people write them, right and wrong.

use leakhound_triage::notify::DestinationConfig;
use leakhound_triage::notify::config::check_names;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    notify: Vec<DestinationConfig>,
}

fn parse(text: &str) -> Result<Vec<DestinationConfig>, String> {
    toml::from_str::<File>(text)
        .map(|file| file.notify)
        .map_err(|error| error.to_string())
}

#[test]
fn every_kind_is_read() {
    let destinations = parse(
        r#"
        [[notify]]
        name = "cart-oncall"
        teams = { webhook = { env = "CART_TEAMS_WEBHOOK" } }
        [[notify]]
        name = "ops"
        min_severity = "critical"
        slack = { webhook = { file = "/run/secrets/slack" } }
        [[notify]]
        name = "bus"
        webhook = { url = "https://bus.example.com/hook", secrets = [{ env = "NEW" }, { env = "OLD" }] }
        [[notify]]
        name = "room"
        [notify.matrix]
        homeserver = "https://matrix.example.com"
        room = "!abc:example.com"
        token = { file = "/run/secrets/matrix" }
        "#,
    )
    .unwrap();
    let kinds: Vec<_> = destinations
        .iter()
        .map(|d| (d.name.as_str(), d.destination.kind(), d.min_severity.name()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("cart-oncall", "teams", "warning"),
            ("ops", "slack", "critical"),
            ("bus", "webhook", "warning"),
            ("room", "matrix", "warning")
        ]
    );
    check_names(&destinations).unwrap();
}

#[test]
fn mistakes_are_named_with_the_line() {
    for (text, expected) in [
        (
            "name = \"a\"\nteam = { webhook = { env = \"X\" } }",
            "unknown field `team`",
        ),
        (
            "name = \"a\"",
            "says nowhere to go: add one of `slack`, `teams`, `webhook`, `matrix`",
        ),
        (
            "name = \"a\"\nslack = { webhook = { env = \"X\" } }\nteams = { webhook = { env = \"X\" } }",
            "destination `a` has slack and teams",
        ),
        (
            "name = \"\"\nslack = { webhook = { env = \"X\" } }",
            "needs a name",
        ),
        (
            "slack = { webhook = { env = \"X\" } }",
            "missing field `name`",
        ),
        (
            "name = \"a\"\nslack = { webhook = { env = \"X\" }, channel = \"#c\" }",
            "unknown field `channel`",
        ),
        (
            "name = \"a\"\nslack = { webhook = { vault = \"X\" } }",
            "unknown field `vault`",
        ),
        (
            "name = \"a\"\nwebhook = { url = \"https://x.example.com\" }",
            "needs `secret",
        ),
        (
            "name = \"a\"\nmin_severity = \"bad\"\nslack = { webhook = { env = \"X\" } }",
            "unknown variant `bad`",
        ),
    ] {
        let error = parse(&format!("[[notify]]\n{text}")).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(error.contains("line "), "{error}");
    }
    let twice = "[[notify]]\nname = \"a\"\nslack = { webhook = { env = \"X\" } }\n".repeat(2);
    assert!(
        check_names(&parse(&twice).unwrap())
            .unwrap_err()
            .to_string()
            .contains("two destinations are named `a`")
    );
}

#[test]
fn a_check_finds_what_sending_would_find() {
    for (block, expected) in [
        (
            "slack = { webhook = { env = \"LEAKHOUND_TEST_UNSET\" } }",
            "LEAKHOUND_TEST_UNSET is not set",
        ),
        (
            "slack = { webhook = \"http://hooks.example.com/hidden\" }",
            "use https",
        ),
        (
            "teams = { webhook = \"no address hidden\" }",
            "is not an address",
        ),
        (
            "webhook = { url = \"https://u:hidden@example.com/\", secret = \"0123456789abcdef0\" }",
            "before the host",
        ),
        (
            "webhook = { url = \"https://example.com/\", secret = \"hidden\" }",
            "at least 16",
        ),
        (
            "webhook = { url = \"https://example.com/\", secret = \"whsec_hidden%\" }",
            "base64",
        ),
        (
            "matrix = { homeserver = \"https://example.com\", room = \"#ops:example.com\", token = \"hidden\" }",
            "room id",
        ),
    ] {
        let parsed = parse(&format!("[[notify]]\nname = \"a\"\n{block}")).unwrap();
        let error = parsed[0].check().unwrap_err().to_string();
        assert!(error.contains(expected), "{block}\n{error}");
        assert!(!error.contains("hidden"), "{error}");
        assert!(!format!("{parsed:?}").contains("hidden"), "{parsed:?}");
    }
}

#[test]
fn a_secret_in_clear_is_a_warning() {
    let parsed =
        parse("[[notify]]\nname = \"a\"\nslack = { webhook = \"https://example.com/hidden\" }")
            .unwrap();
    let warnings = parsed[0].check().unwrap();
    assert!(
        warnings[0].contains("written in clear") && !warnings[0].contains("hidden"),
        "{warnings:?}"
    );
    assert!(!format!("{parsed:?}").contains("hidden"));
    let parsed = parse(
        "[[notify]]\nname = \"a\"\nwebhook = { url = \"http://127.0.0.1:1/\", secret = { file = \"/dev/null\" } }",
    );
    assert!(
        parsed.unwrap()[0]
            .check()
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
}
