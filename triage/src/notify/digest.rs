//! Several messages as one: a line for each, the worst first.

use super::message::{Message, Words};

/// The digest of messages; of one it is the message itself.
#[must_use]
pub fn of(mut messages: Vec<Message>) -> Option<Message> {
    // Among equals the order in which they came.
    messages.sort_by_key(|message| std::cmp::Reverse(message.severity));
    let n = messages.len();
    let mut services: Vec<&str> = messages
        .iter()
        .map(|message| message.context.service.as_str())
        .collect();
    services.sort_unstable();
    services.dedup();
    let about = match services.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("{} services", several.len()),
    };
    let lines: Vec<String> = messages.iter().map(line).collect();
    let mut worst = messages.into_iter().next()?;
    if n == 1 {
        return Some(worst);
    }
    let title = format!("Digest: {n} messages about {about}");
    worst.headline.clone_from(&title);
    worst.words = Some(Words::new(&title, lines.iter().map(String::as_str)));
    worst.context.service = about;
    // It is about none of them alone.
    worst.context.incident = None;
    worst.context.link = None;
    worst.context.report = None;
    worst.context.bundle = None;
    worst.cause = None;
    worst.others.clear();
    worst.diagnosis = serde_json::Value::Null;
    worst.omitted = vec!["diagnosis".to_owned()];
    Some(worst)
}

fn line(message: &Message) -> String {
    let mut line = format!(
        "{} {}: {}",
        message.mark(),
        message.title(),
        message.headline
    );
    if let Some(story) = &message.context.incident {
        line.push_str(&format!(" [{}]", story.id));
    }
    line
}
