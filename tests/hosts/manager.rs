//! What the service manager is told, and an upgrade under the running agent.

use crate::agent::{Agent, PATIENCE};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_leakhound");
/// What the agent must be heard within, as `WatchdogSec=` of the unit has it.
const WATCHDOG: Duration = Duration::from_secs(3);

/// The manager's end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        let short = Some(Duration::from_millis(100));
        socket.set_read_timeout(short).expect("a timeout");
        Self(socket)
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        match self.0.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(e) => panic!("{e}"),
        }
    }

    /// Waits for a message in which a line starts with `words`.
    fn wait_for(&self, words: &str, agent: &Agent) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(message) = self.next()
                && message.lines().any(|line| line.starts_with(words))
            {
                return message;
            }
        }
        panic!("{words} never came\n{}", agent.said());
    }

    /// What comes in a span of time.
    fn hear_for(&self, span: Duration) -> Vec<String> {
        let until = Instant::now() + span;
        let mut heard = Vec::new();
        while Instant::now() < until {
            heard.extend(self.next());
        }
        heard
    }
}

/// The thread of a process that is called `name`, stopped by the kernel until it is dropped; the others go on.
struct Stopped(libc::pid_t);

impl Stopped {
    fn thread(pid: u32, name: &str) -> Self {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        let thread = threads
            .flatten()
            .find(|t| {
                std::fs::read_to_string(t.path().join("comm")).is_ok_and(|c| c.trim_end() == name)
            })
            .expect("the thread is there");
        let thread: libc::pid_t = thread
            .file_name()
            .to_str()
            .and_then(|t| t.parse().ok())
            .expect("an id");
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: a thread of a child of ours; nothing is written into it.
        unsafe {
            assert_eq!(
                libc::ptrace(libc::PTRACE_SEIZE, thread, nothing, nothing),
                0
            );
            assert_eq!(
                libc::ptrace(libc::PTRACE_INTERRUPT, thread, nothing, nothing),
                0
            );
            let mut status = 0;
            assert_eq!(libc::waitpid(thread, &raw mut status, libc::__WALL), thread);
            assert!(libc::WIFSTOPPED(status));
        }
        Self(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: lets go what `thread` took.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, nothing, nothing) };
    }
}

fn is_alive(message: &str) -> bool {
    message.lines().any(|line| line == "WATCHDOG=1")
}

#[test]
fn the_manager_hears_of_every_state_and_of_a_thread_that_hangs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("leakhound.toml");
    let archive = folder.path().join("archive");
    let me = std::process::id();
    let write = |rest: &str| {
        let text = format!(
            "[archive]\nlocation = {archive:?}\n[[service]]\nname = \"me\"\npid = {me}\nevery = \"200 ms\"\n\
             [[service.trigger]]\nname = \"never\"\nwhen = \"private_bytes > 900 GB\"\n{rest}"
        );
        std::fs::write(&config, text).expect("it can be written");
    };
    write("");
    let socket = folder.path().join("notify");
    let manager = Manager::listen(&socket);
    let limit = WATCHDOG.as_micros().to_string();
    let environment = [
        ("NOTIFY_SOCKET", socket.to_str().expect("a plain path")),
        ("WATCHDOG_USEC", &limit),
    ];
    let agent = Agent::start(Path::new(PROGRAM), folder.path(), &config, &environment);

    manager.wait_for("READY=1", &agent);
    assert!(
        agent.said().contains("Leakhound is watching"),
        "{}",
        agent.said()
    );
    manager.wait_for("STATUS=Watching 1 process", &agent);
    manager.wait_for("WATCHDOG=1", &agent);
    manager.wait_for("WATCHDOG=1", &agent);

    // The thread that watches hangs, the rest of the agent lives: after the time that the manager waits nothing comes any more.
    let hanging = Stopped::thread(agent.pid(), "watch");
    manager.hear_for(WATCHDOG);
    let heard = manager.hear_for(WATCHDOG);
    assert!(!heard.iter().any(|m| is_alive(m)), "{heard:?}");
    drop(hanging);
    manager.wait_for("WATCHDOG=1", &agent);

    agent.signal(libc::SIGHUP);
    let reloading = manager.wait_for("RELOADING=1", &agent);
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let ready = manager.wait_for("READY=1", &agent);
    assert!(!ready.contains("refused"), "{ready}");
    write("evrey = 7\n");
    agent.signal(libc::SIGHUP);
    manager.wait_for("RELOADING=1", &agent);
    let ready = manager.wait_for("READY=1", &agent);
    assert!(
        ready.contains("STATUS=") && ready.contains("refused"),
        "{ready}"
    );

    agent.signal(libc::SIGTERM);
    manager.wait_for("STOPPING=1", &agent);
    assert_eq!(agent.end().code(), Some(0));
}

/// A dump that comes after the program's file was replaced is still diagnosed by the program that runs.
#[test]
fn an_upgrade_under_the_running_agent_does_not_break_its_parser() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("leakhound");
    std::fs::copy(PROGRAM, &program).expect("a copy");
    let config = folder.path().join("leakhound.toml");
    let (archive, inbox) = (folder.path().join("archive"), folder.path().join("inbox"));
    std::fs::create_dir(&inbox).expect("a folder");
    let text = format!(
        "[archive]\nlocation = {archive:?}\n[capture]\nreserve = \"1 MB\"\n[triage]\nmodules = \"none\"\n\
         [adopt]\nfolders = [{inbox:?}]\nsettle = \"200 ms\"\nservice = \"pricing\"\noriginal = \"remove\"\n"
    );
    std::fs::write(&config, text).expect("it can be written");
    let agent = Agent::start(&program, folder.path(), &config, &[]);
    agent.until("it watches", || {
        agent.said().contains("Leakhound is watching")
    });

    // As a package manager does it: the new file beside the old one, then over it.
    let fresh = folder.path().join("leakhound.new");
    std::fs::write(&fresh, "#!/bin/sh\nexit 9\n").expect("it can be written");
    std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755)).expect("it can be changed");
    std::fs::rename(&fresh, &program).expect("it is replaced");

    let dump = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shop-pricing.core.zst");
    let packed = std::fs::File::open(dump).expect("the dump is there");
    let hidden = folder.path().join("core.1");
    let mut file = std::fs::File::create(&hidden).expect("a file");
    zstd::stream::copy_decode(packed, &mut file).expect("it unpacks");
    // A file that somebody still writes is not taken in.
    drop(file);
    std::fs::rename(&hidden, inbox.join("core.1")).expect("it is moved");
    let diagnosed = || {
        let bundles = std::fs::read_dir(archive.join("pricing"))
            .into_iter()
            .flatten();
        bundles
            .flatten()
            .any(|b| b.path().join("diagnosis.json").is_file())
    };
    agent.until("the dump is diagnosed", diagnosed);
    assert_eq!(agent.end().code(), Some(0));
}
