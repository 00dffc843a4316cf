//! The Teams card and the Slack blocks as people see them, drawn by Chromium: run when `LEAKHOUND_TEST_SCREENSHOTS` names the folder
//! that the pictures go to. Microsoft's own library draws the card; Slack publishes none, so a page of ours draws its blocks.

use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use leakhound_testbed::debian;
use leakhound_triage::notify::growth::Growth;
use leakhound_triage::notify::message::{Story, Turn};
use leakhound_triage::notify::{Message, blocks, teams};
use serde_json::Value;

use crate::fixtures::{leak, message};
use crate::support::{npm, run};

const FOLDER: &str = "LEAKHOUND_TEST_SCREENSHOTS";

fn told() -> Message {
    let mut message = message(&leak());
    let at: Timestamp = "2026-11-22T19:22:33Z".parse().unwrap();
    let sizes = [
        0.14e9, 0.17e9, 0.21e9, 0.3e9, 0.42e9, 0.61e9, 0.83e9, 1.21e9,
    ];
    let points = sizes.into_iter().zip(0..).map(|(bytes, i)| {
        let before = SignedDuration::from_hours(7 - i);
        (at - before, bytes)
    });
    message.context.growth = Growth::of(points);
    let story = Story {
        id: "3f9ac01b2d".to_owned(),
        turn: Turn::Opened,
        round: 1,
        n_sightings: 1,
        n_nodes: 1,
    };
    message.tell_story(story, at - SignedDuration::from_hours(7));
    message
}

/// Draws a page with a value in place of `VALUE`.
fn draw(page: &str, value: &Value, folder: &Path, to: &Path, size: &str) {
    let file = folder.join("page.html");
    // In a script, nothing but the end of a script ends it.
    let value = value.to_string().replace("</", "<\\/");
    std::fs::write(&file, page.replace("VALUE", &value)).unwrap();
    let _ = std::fs::remove_file(to);
    let profile = folder.join("profile");
    let drawn = run(Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=2",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={size}"))
        .arg(format!("--screenshot={}", to.display()))
        .arg(format!("file://{}", file.display())));
    drawn.unwrap();
    // A page that stays empty packs into some hundred bytes.
    let n_bytes = std::fs::metadata(to).unwrap().len();
    assert!(n_bytes > 20_000, "{} has {n_bytes} bytes", to.display());
}

#[test]
fn the_card_and_the_blocks_are_drawn() {
    let Some(to) = std::env::var_os(FOLDER) else {
        println!("not run: {FOLDER} names the folder that pictures go to");
        return;
    };
    // As one reads it in the README, from the root of the repository.
    let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(to);
    std::fs::create_dir_all(&to).unwrap();
    let to = to.canonicalize().unwrap();
    if Command::new("chromium").arg("--version").output().is_err() {
        debian::install("chromium fonts-dejavu-core fonts-noto-color-emoji");
    }
    let folder = npm("npm-adaptivecards-3.0.6", &["adaptivecards@3.0.6"]);
    let card = teams::card(&told(), false);
    let page = include_str!("pages/teams.html");
    draw(page, &card, &folder, &to.join("teams.png"), "720,520");
    let blocks = blocks::payload(&told(), false);
    let page = include_str!("pages/slack.html");
    draw(
        page,
        &blocks["blocks"],
        &folder,
        &to.join("slack.png"),
        "720,690",
    );
}
