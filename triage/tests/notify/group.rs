//! A server of others, with every process that it forks.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

/// A program in a process group of its own, which is killed as a whole when this is dropped: a server that forks its workers
/// leaves them behind when it alone is killed.
pub struct Group(Child);

impl Group {
    /// Starts it.
    pub fn start(command: &mut Command) -> Group {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).spawn();
        Group(child.unwrap_or_else(|error| panic!("{program} does not start: {error}")))
    }

    /// How the program that was started ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// The number of the group.
    pub fn id(&self) -> libc::pid_t {
        self.0.id().cast_signed()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: a system call. The number is nobody else's as long as the leader is not waited for or others of the group live.
        unsafe { libc::kill(-self.id(), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// The processes of a group that live, from `/proc`.
fn living(group: libc::pid_t) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // After the name, which may hold anything: state, parent, group.
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut fields = rest.split(' ');
        let (state, _, of) = (fields.next(), fields.next(), fields.next());
        if of == Some(&group.to_string()) && !matches!(state, Some("Z" | "X")) {
            found.push(stat);
        }
    }
    found
}

#[test]
fn what_a_server_forks_ends_with_it() {
    let mut script = Command::new("sh");
    script.args(["-c", "sleep 600 & sleep 600 & wait"]);
    let group = Group::start(&mut script);
    let id = group.id();
    let started = std::time::Instant::now();
    let wait = |n: usize| {
        while living(id).len() != n {
            let late = started.elapsed() > std::time::Duration::from_secs(60);
            assert!(!late, "not {n} but {:?}", living(id));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wait(3);
    drop(group);
    wait(0);
}
