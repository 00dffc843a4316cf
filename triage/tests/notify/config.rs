//! `[[notify]]` blocks as people write them, right and wrong.

use leakhound_triage::notify::DestinationConfig;
use leakhound_triage::notify::config::check_names;
use leakhound_triage::notify::registry::KINDS;
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
            "says nowhere to go: add one of `slack`, `slack_bot`, `teams`, `webhook`, `matrix`",
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
            "name = \"a\"\ncategories = [\"static-rot\"]\nslack = { webhook = { env = \"X\" } }",
            "did you mean `static-root`?",
        ),
        (
            "name = \"a\"\ndigest = { at = \"08:00\" }\ngitlab = { project = \"a/b\", token = { env = \"X\" } }",
            "one entry for each incident",
        ),
        (
            "name = \"a\"\nemail = { server = \"m\", from = \"a@b.test\", to = [\"c@d.test\"], tls = \"ssl\" }",
            "unknown variant `ssl`",
        ),
        (
            "name = \"a\"\nservice_fabric = { gateway = \"https://a.test\", servers = [\"a1\"] }",
            "40 (SHA-1) or 64 (SHA-256)",
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
        (
            "slack_bot = { channel = \"#ops\", token = \"xoxb-hidden\" }",
            "id of a channel such as C0123456789",
        ),
        (
            "slack_bot = { channel = \"C012\", token = \"hidden\" }",
            "begins with `xoxb-`",
        ),
        (
            "email = { server = \"mail.test\", from = \"a@b.test\", to = [\"c@d.test\"], tls = \"none\" }",
            "for a server on this machine only",
        ),
        (
            "email = { server = \"mail.test\", from = \"a@b.test\", to = [\"nobody\"] }",
            "such as oncall@example.net",
        ),
        (
            "email = { server = \"mail.test\", from = \"a@b.test\", to = [] }",
            "1 to 50 addresses",
        ),
        (
            "email = { server = \"mail.test\", from = \"a@b.test\", to = [\"c@d.test\"], user = \"u\" }",
            "`user` needs it",
        ),
        (
            "email = { server = \"mail.test\", from = \"a@b.test\", to = [\"c@d.test\"], ca = \"/dev/null\" }",
            "holds no certificate",
        ),
        (
            "azure_devops = { organization = \"https://dev.azure.com/shop\", project = \"\", token = \"hidden\" }",
            "azure_devops.project: is empty",
        ),
        (
            "redmine = { site = \"https://r.test\", project = \"a b\", key = \"hidden\" }",
            "identifier such as cart",
        ),
        (
            "servicenow = { site = \"http://shop.service-now.com\", token = \"hidden\" }",
            "use https",
        ),
        (
            "service_fabric = { gateway = \"https://a.test:19080\", certificate = \"hidden\" }",
            "certificate and its key as PEM",
        ),
        (
            "service_fabric = { gateway = \"https://a.test:19080\", expires = \"5 s\" }",
            "at least `1 min`",
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

#[test]
fn the_reference_configuration_shows_every_kind_as_it_is_read() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/config/leakhound.toml"
    );
    let text = std::fs::read_to_string(file).unwrap();
    let shown: toml::Table = text.parse().unwrap();
    let blocks = shown["notify"].as_array().unwrap();
    for block in blocks {
        let read: Result<DestinationConfig, _> = block.clone().try_into();
        assert!(read.is_ok(), "{block}: {read:?}");
    }
    // Some stand in comments, as alternatives.
    for kind in KINDS {
        let begins = format!("{} ", kind.key);
        let mut lines = text.lines().filter_map(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&begins).then(|| line.to_owned())
        });
        let line = lines
            .find(|line| line.contains("= {"))
            .unwrap_or_else(|| panic!("deploy/config/leakhound.toml does not show `{}`", kind.key));
        let read = parse(&format!("[[notify]]\nname = \"a\"\n{line}"));
        assert!(read.is_ok(), "{line}: {read:?}");
    }
}
