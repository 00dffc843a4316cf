//! `deploy/README.md`, followed word for word on a machine that has a leaking service and a chat, and nothing of Leakhound.

use crate::agent::PATIENCE;
use crate::debian::packages;
use leakhound_testbed::demo::{CULPRIT, Leak, demo_service};
use leakhound_testbed::{Version, runtimes};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The guide's address of the chat, in whose place comes that of the chat of this test.
const ADDRESS: &str = "https://hooks.example.net/services/T000/B000/xxxx";

/// A chat that takes whatever it is sent: its address, and the bodies.
fn chat() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!(
        "http://{}/hook",
        listener.local_addr().expect("its address")
    );
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Some(body) = request_body(&mut stream) else {
                continue;
            };
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            let _ = stream.write_all(answer.as_bytes());
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    (address, bodies)
}

fn request_body(stream: &mut impl Read) -> Option<String> {
    let (mut text, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let length = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        text.extend_from_slice(&buffer[..length]);
        let so_far = String::from_utf8_lossy(&text);
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let expected: usize = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok())?;
        if body.len() >= expected {
            return Some(body.to_owned());
        }
    }
}

/// The shell's words for a part of the guide: files are written, commands run, and what they must say is looked for.
fn steps(guide: &str) -> (String, usize) {
    let (mut script, mut commands, mut file) = (String::new(), 0, "");
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if let Some(path) = line.strip_prefix('`').and_then(|l| l.strip_suffix('`')) {
            file = path;
        }
        let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if kind != "console" {
            let _ = writeln!(script, "cat >{file} <<'END'\n{}\nEND", block.join("\n"));
            continue;
        }
        for line in block {
            if let Some(command) = line.strip_prefix("$ ") {
                commands += 1;
                let _ = writeln!(script, "{command} >said 2>&1 || {{ cat said; exit 1; }}");
                if command.starts_with("systemctl enable") {
                    script.push_str("until [ -e told ]; do sleep 0.2; done\n");
                }
            } else {
                let _ = writeln!(script, "grep -F '{line}' said || {{ cat said; exit 1; }}");
            }
        }
    }
    (script, commands)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_guide_leads_from_nothing_to_a_diagnosis_in_the_chat() {
    // SAFETY: asks for our own id.
    if unsafe { libc::geteuid() } != 0 {
        // Only root can make a root of its own with accounts in it.
        return;
    }
    let guide = fs::read_to_string(Path::new(ROOT).join("deploy/README.md")).expect("the guide");
    let from = guide.find("## A Linux host").expect("its Linux part");
    let part = &guide[from..from + guide[from..].find("## Kubernetes").expect("its end")];
    let (address, messages) = chat();
    assert!(part.contains(ADDRESS));
    let (script, commands) = steps(&part.replace(ADDRESS, &address));
    assert_eq!(commands, 6, "{script}");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let [layers, desk] = ["layers", "desk"].map(|name| folder.path().join(name));
    fs::create_dir(&layers)
        .and_then(|()| fs::create_dir(&desk))
        .expect("folders");
    fs::copy(&packages().new, desk.join("leakhound.deb")).expect("the package");
    fs::write(desk.join("steps.sh"), script).expect("written");
    // The agent, a user of its own, passes through.
    for open in [folder.path(), &desk] {
        fs::set_permissions(open, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("it can be changed");
    }
    let root = runtimes::get(Version::Net8).expect("a runtime");
    let leak = Leak {
        megabytes_per_second: 40,
        megabytes_at_most: 300,
    };
    let _service = demo_service(&root, leak).expect("the service starts");
    let transcript = fs::File::create(folder.path().join("transcript")).expect("a file");
    let mut following = Command::new("unshare")
        .args(["--mount", "sh"])
        .arg(Path::new(ROOT).join("tests/hosts/guide.sh"))
        .args([&layers, &desk])
        .stdin(Stdio::null())
        .stdout(transcript.try_clone().expect("another handle"))
        .stderr(transcript)
        .spawn()
        .expect("unshare of util-linux is needed by this test");
    let said = || {
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        format!("{}\n{}", read("transcript"), read("desk/log"))
    };
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut message = None;
    let ended = loop {
        assert!(Instant::now() < deadline, "{}", said());
        if let Ok(body) = messages.recv_timeout(Duration::from_millis(100)) {
            fs::write(desk.join("told"), "").expect("written");
            message = Some(body);
        }
        if let Some(status) = following.try_wait().expect("it can be asked") {
            break status;
        }
    };
    assert!(ended.success(), "{}", said());
    let message = message.expect("the chat was told");
    assert!(message.contains(CULPRIT), "{message}");
}
