//! What a matrix has measured so far: a line for each run as it is done, so that a matrix that is stopped loses nothing.

use crate::run::Setting;
use crate::score::Outcome;
use leakhound_testbed::Target;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The file that `LEAKHOUND_ACCURACY="resume …"` goes on from.
pub struct Journal {
    place: PathBuf,
    before: Vec<Outcome>,
    file: Mutex<File>,
}

impl Journal {
    /// Begins one, or goes on with the one that is there.
    pub fn open(resumes: bool) -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("accuracy.tsv");
        let text = match resumes {
            true => std::fs::read_to_string(&place).unwrap_or_default(),
            false => String::new(),
        };
        // The last line may be cut where the program was killed.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        std::fs::write(&place, whole).unwrap();
        let file = OpenOptions::new().append(true).open(&place).unwrap();
        Self {
            before: whole.lines().map(Outcome::parse).collect(),
            file: Mutex::new(file),
            place,
        }
    }

    /// The outcome of a run that was done before the matrix was stopped.
    pub fn find(&self, target: &Target, setting: Setting) -> Option<Outcome> {
        let is_it = |outcome: &&Outcome| {
            outcome.service == target.name
                && outcome.runtime == setting.version.short()
                && outcome.collector == setting.collector.name()
        };
        self.before.iter().find(is_it).cloned()
    }

    /// Keeps a new one.
    pub fn add(&self, outcome: &Outcome) {
        if !self.before.contains(outcome) {
            let line = outcome.line() + "\n";
            self.file
                .lock()
                .unwrap()
                .write_all(line.as_bytes())
                .unwrap();
        }
    }

    /// The matrix is whole and written elsewhere.
    pub fn done(self) {
        std::fs::remove_file(self.place).unwrap();
    }
}
