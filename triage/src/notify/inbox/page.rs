//! The inbox as a page: a list, and each message as it would be read.

use std::fmt::Write as _;

use super::Received;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #c2410c; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } a { color: inherit; }
ol { list-style: none; padding: 0; } li { border: 1px solid var(--line); border-radius: .6rem; margin: .8rem 0; }
li a { display: block; padding: .8rem 1rem; text-decoration: none; } li a:hover { background: var(--soft); }
b { display: block; } time, small { opacity: .7; font-size: .85rem; }
.critical { border-left: .35rem solid #dc2626; } .warning { border-left: .35rem solid #d97706; }
.info { border-left: .35rem solid #16a34a; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: 1rem; border: 1px solid var(--line); border-radius: .6rem; }
pre.message { font: inherit; }
";

/// All messages, the newest first.
pub(super) fn list(messages: &[Received]) -> String {
    let mut body = String::from("<h1>Leakhound inbox</h1>");
    if messages.is_empty() {
        body.push_str("<p>No message yet. The page does not refresh by itself.</p>");
    }
    body.push_str("<ol>");
    for message in messages {
        // Writing to a string cannot fail.
        let _ = write!(
            body,
            "<li class=\"{}\"><a href=\"/messages/{}\"><b>{}</b>{}<br><time>{}</time></a></li>",
            severity(message),
            escape(&message.id),
            escape(message.text("title")),
            escape(
                message.body["data"]["diagnosis"]["headline"]
                    .as_str()
                    .unwrap_or_default()
            ),
            message.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        );
    }
    body.push_str("</ol>");
    document("Leakhound inbox", &body)
}

/// One message: the text that people get, then the document that programs get.
pub(super) fn message(message: &Received) -> String {
    let mut body = format!(
        "<p><a href=\"/\">← Inbox</a></p><h1>{}</h1>",
        escape(message.text("title"))
    );
    let _ = write!(
        body,
        "<pre class=\"message {}\">{}</pre>",
        severity(message),
        escape(message.text("text"))
    );
    let link = message.text("link");
    if link.starts_with("https://") || link.starts_with("http://") {
        let _ = write!(
            body,
            "<p><a href=\"{}\">Open the report</a></p>",
            escape(link)
        );
    }
    let json = serde_json::to_string_pretty(&message.body).unwrap_or_default();
    let _ = write!(
        body,
        "<p><small>{} · signature verified · kept as {}</small></p><details><summary>What programs receive</summary>\
         <pre>{}</pre></details>",
        escape(&message.id),
        escape(&message.file.display().to_string()),
        escape(&json)
    );
    document(message.text("title"), &body)
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{}</title><style>{STYLE}</style>{body}</html>",
        escape(title)
    )
}

/// A class name of ours, whatever the message says.
fn severity(message: &Received) -> &'static str {
    match message.text("severity") {
        "critical" => "critical",
        "warning" => "warning",
        _ => "info",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
