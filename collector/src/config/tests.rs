//! The configuration as operators write it, right and wrong.
#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Duration;

fn read(text: &str) -> Result<Config, String> {
    parse(text, Path::new("leakhound.toml")).map_err(|e| e.to_string())
}

#[test]
fn the_example_of_the_design_loads() {
    let config = read(
        r#"
[[service]]
name     = "fabric:/Shop/Cart"
every    = "5 s"
cooldown = "1 h"
limit    = "3 per day"
notify   = ["cart-oncall", "jira"]
match    = { code_package = "Code" }
  [[service.trigger]]
  name = "four times the average"
  when = "private_bytes > 4 * average(private_bytes, 7 days)"

[capture]
method  = "stop-and-stream"
reserve = "10%"

[adopt]
folders = ["/var/crash"]
original = "remove"
"#,
    )
    .unwrap();
    let service = &config.service[0];
    assert_eq!(service.limit.count, 3);
    assert_eq!(service.limit.per, Duration::from_secs(86_400));
    assert_eq!(service.triggers().len(), 1);
    assert_eq!(config.capture.reserve, Reserve::Share(0.1));
    assert_eq!(config.capture.method, MethodChoice::StopAndStream);
    assert_eq!(config.adopt.original, Original::Remove);
}

#[test]
fn an_empty_file_is_all_defaults_and_the_default_triggers_are_valid() {
    let config = read("").unwrap();
    assert_eq!(config, Config::default());
    let mut problems = Problems::new(Path::new("x"), "");
    for trigger in ServiceConfig::named("x").triggers() {
        crate::trigger::check("when", &trigger.when, &mut problems);
    }
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_valid_one() {
    let error = read("[[service]]\nname = \"a\"\ncool_down = \"1 h\"\n").unwrap_err();
    assert!(
        error.starts_with("error: service[0].cool_down: unknown field `cool_down`"),
        "{error}"
    );
    assert!(error.contains("--> leakhound.toml:3:1\n"), "{error}");
    assert!(
        error.contains("3 | cool_down = \"1 h\"\n  | ^^^^^^^^^"),
        "{error}"
    );
    assert!(error.contains("did you mean `cooldown`?"), "{error}");
}

#[test]
fn impossible_units_and_values_are_refused_where_they_stand() {
    for (text, at, why) in [
        (
            "[[service]]\nname = \"a\"\nevery = \"5 GB\"\n",
            ":3:9\n",
            "5 GB",
        ),
        (
            "[[service]]\nname = \"a\"\nevery = \"5\"\n",
            ":3:9\n",
            "unit",
        ),
        (
            "[[service]]\nname = \"a\"\nlimit = \"3 a day\"\n",
            ":3:9\n",
            "per",
        ),
        ("[capture]\nreserve = \"110%\"\n", ":2:11\n", "110%"),
        (
            "[capture]\nmethod = \"atuo\"\n",
            ":2:10\n",
            "did you mean `auto`?",
        ),
        ("[capture]\nlevel = 77\n", ":", "1 to 19"),
        (
            "[[service]]\nname = \"a\"\nkind = \"everything\"\n",
            ":",
            "heap",
        ),
        ("[[service]]\nprocess = \"x\"\n", ":", "name"),
        (
            "[[service]]\nname = \"a\"\n[[service]]\nname = \"a\"\n",
            ":4:8\n",
            "second",
        ),
        ("[adopt]\nfolders = [\"crash\"]\n", ":", "absolute"),
        ("[adopt]\nfolders = ['D:crash']\n", ":", "absolute"),
        ("[adopt]\nfolders = [\"/var/*/crash\"]\n", ":", "last part"),
        ("[adopt]\nfolders = [\"/var/crash*\"]\n", ":", "last part"),
        ("[[service]\n", ":1:", ""),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(at) && error.contains(why), "{text}\n{error}");
    }
}

#[test]
fn a_trigger_that_cannot_work_is_refused_at_load() {
    let text = "[[service]]\nname = \"a\"\n[[service.trigger]]\nname = \"t\"\nwhen = \"private_byte > 1 GB\"\n";
    let error = read(text).unwrap_err();
    assert!(
        error.contains("service[0].trigger[0].when: ") && error.contains("leakhound.toml:5:9\n"),
        "{error}"
    );
    assert!(
        error.contains("5 | when = \"private_byte > 1 GB\"\n  |         ^^^^^^^^^^^^"),
        "{error}"
    );
    assert!(error.contains("did you mean `private_bytes`?"), "{error}");
}

#[test]
fn wildcards_match_linearly() {
    let p = Pattern::new("*a*a*a*a*a*a*a*b");
    assert!(!p.matches(&"a".repeat(4000)));
    assert!(Pattern::new("Shop.*").matches("Shop.Cart"));
    assert!(!Pattern::new("Shop.*").matches("MyShop.Cart"));
    assert!(
        Pattern::new("Cart").found_in("dotnet Cart.dll")
            && !Pattern::new("Cart").matches("Cart.dll")
    );
}
