//! Finds the files of a process's modules on this machine and proves that they are the right ones.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use leakhound_archive::ReadAt;
use leakhound_archive::read_at::PlainFile;

use crate::elf::module::build_id;
use crate::elf::{EHDR_BYTES, PHDR_BYTES, PT_NOTE, ProgramHeader};
use crate::fields::{u16_at, u64_at};
use crate::image::{MappedFile, Module};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::pe::PeHeaders;

/// Where to look for module files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSearch {
    /// Root under which the process's own paths are looked up: `/` for this machine, an unpacked container image,
    /// `/proc/PID/root`.
    pub sysroot: Option<PathBuf>,
    /// Folders with module files, somewhere below: by name, or by build id. Looked at first, in this order.
    pub folders: Vec<PathBuf>,
}

impl FileSearch {
    /// The paths of the process, on this machine.
    #[must_use]
    pub fn this_machine() -> Self {
        Self {
            sysroot: Some(PathBuf::from("/")),
            folders: Vec::new(),
        }
    }
}

/// How a file was proved to be the one that the process had mapped, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Equal GNU build ids.
    BuildId,
    /// PE: equal time stamp, image size and check sum in the headers.
    Headers,
    /// The headers are not in the dump; the mappings fit the file's length and sections. Check contents (MVID) too.
    Shape,
}

/// A module's file.
#[derive(Clone)]
pub struct ModuleFile {
    /// The file.
    pub file: Arc<dyn ReadAt>,
    /// How it was proved.
    pub proof: Proof,
}

/// Module files by module path, opened once each. Files that do not match are refused; those that somebody offered in a
/// folder, with a sentence.
#[derive(Default)]
pub struct ModuleFiles {
    search: FileSearch,
    max_open: u64,
    /// Files below the folders, by lower-case name.
    offered: HashMap<String, Vec<PathBuf>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    opened: HashMap<(PathBuf, u64), Option<ModuleFile>>,
    used: BTreeSet<PathBuf>,
    problems: Vec<String>,
}

impl ModuleFiles {
    /// Looks in the places that `search` names.
    #[must_use]
    pub fn new(search: FileSearch, limits: &Limits) -> Self {
        let mut state = State::default();
        let mut offered = HashMap::new();
        let mut room = limits.folder_files;
        for folder in &search.folders {
            list(folder, &mut offered, &mut room, 0);
        }
        if room == 0 {
            state.problems.push(format!(
                "The folders of module files hold more than {} files: the rest was not looked at.",
                limits.folder_files
            ));
        }
        Self {
            search,
            max_open: limits.overlay_files,
            offered,
            state: Mutex::new(state),
        }
    }

    /// The file of `module`, when it is found and proved. `memory` and `mapped` are those of the process.
    #[must_use]
    pub fn open(
        &self,
        memory: &dyn Memory,
        mapped: &[MappedFile],
        module: &Module,
    ) -> Option<ModuleFile> {
        let key = (module.path.clone(), module.base);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = state.opened.get(&key) {
            return known.clone();
        }
        if state.opened.len() as u64 >= self.max_open {
            if state.opened.len() as u64 == self.max_open {
                state.problems.push(format!(
                    "More than {} module files: the rest was not looked at.",
                    self.max_open
                ));
                state.opened.insert(key, None);
            }
            return None;
        }
        let mut found = None;
        for (path, offered) in self.candidates(module) {
            match open_regular(&path)
                .and_then(|file| prove(&file, memory, mapped, module).map(|p| (file, p)))
            {
                Ok((file, proof)) => {
                    found = Some(ModuleFile {
                        file: Arc::new(file),
                        proof,
                    });
                    break;
                }
                Err(Refusal::Absent) => {}
                Err(Refusal::Because(reason)) if offered => {
                    let sentence = format!("{} was not used: {reason}.", path.display());
                    if state.problems.len() < MAX_PROBLEMS && !state.problems.contains(&sentence) {
                        state.problems.push(sentence);
                    }
                }
                Err(Refusal::Because(reason)) => {
                    tracing::debug!(path = %path.display(), reason, "Module file not used");
                }
            }
        }
        state.opened.insert(key, found.clone());
        found
    }

    /// Notes that bytes of `path` went into an answer.
    pub fn mark_used(&self, path: &Path) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.used.contains(path) {
            state.used.insert(path.to_owned());
        }
    }

    /// Files whose bytes went into an answer.
    #[must_use]
    pub fn used(&self) -> Vec<PathBuf> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used.iter().cloned().collect()
    }

    /// Files that were refused, one sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.problems.clone()
    }

    /// Files to try, and whether somebody offered them.
    fn candidates(&self, module: &Module) -> Vec<(PathBuf, bool)> {
        let name = module.file_name().trim_end_matches(" (deleted)");
        let id: String = module.build_id.iter().map(|b| format!("{b:02x}")).collect();
        let mut paths: Vec<(PathBuf, bool)> = [name.to_lowercase(), id]
            .iter()
            .filter_map(|name| self.offered.get(name))
            .flatten()
            .map(|path| (path.clone(), true))
            .collect();
        // The dump may be hostile: its paths must not climb out of the root they are looked up in.
        let text = module.path.to_string_lossy();
        let inside = Path::new(text.trim_end_matches(" (deleted)").trim_start_matches('/'));
        let plain = inside
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
        if let Some(root) = &self.search.sysroot
            && plain
            && inside.components().next().is_some()
        {
            // The machine that reads has its own builds of common files: that is no news.
            paths.push((root.join(inside), root != Path::new("/")));
        }
        paths
    }
}

/// Depth to which folders of module files are searched.
const MAX_DEPTH: usize = 12;
/// Sentences about files that were refused.
const MAX_PROBLEMS: usize = 100;

/// Lists the files below `folder` by lower-case name (Windows does not tell cases apart), at most `room` of them.
fn list(folder: &Path, found: &mut HashMap<String, Vec<PathBuf>>, room: &mut u64, depth: usize) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut entries: Vec<fs::DirEntry> = entries
        .flatten()
        .take(usize::try_from(*room).unwrap_or(usize::MAX))
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        // Links are followed to files and not to folders: no search goes in circles.
        let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
        if is_folder {
            if depth < MAX_DEPTH {
                list(&entry.path(), found, room, depth + 1);
            }
            continue;
        }
        if *room == 0 {
            return;
        }
        *room -= 1;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        found.entry(name).or_default().push(entry.path());
    }
}

enum Refusal {
    Absent,
    Because(String),
}

/// Opens a regular file; a fifo or device named by a hostile dump must not block us.
fn open_regular(path: &Path) -> Result<PlainFile, Refusal> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        _ => return Err(Refusal::Absent),
    }
    PlainFile::open(path).map_err(|error| Refusal::Because(error.to_string()))
}

/// Decides whether `file` is what the process had mapped as `module`.
fn prove(
    file: &PlainFile,
    memory: &dyn Memory,
    mapped: &[MappedFile],
    module: &Module,
) -> Result<Proof, Refusal> {
    let head: [u8; EHDR_BYTES] = file_array(file, 0)
        .ok_or_else(|| Refusal::Because("it is too short for a module".to_owned()))?;
    if head.starts_with(b"\x7fELF") {
        return prove_elf(file, &head, mapped, module);
    }
    if head.starts_with(b"MZ") {
        return prove_pe(file, memory, mapped, module);
    }
    Err(Refusal::Because(
        "it is neither an ELF nor a PE file".to_owned(),
    ))
}

fn prove_elf(
    file: &PlainFile,
    head: &[u8; EHDR_BYTES],
    mapped: &[MappedFile],
    module: &Module,
) -> Result<Proof, Refusal> {
    let id = file_program_headers(file, head)
        .iter()
        .filter(|h| h.kind == PT_NOTE && h.file_bytes <= 64 << 10)
        .find_map(|h| {
            let mut bytes = vec![0; h.file_bytes as usize];
            let n = file.read_at(h.offset, &mut bytes).ok()?;
            build_id(&bytes[..n])
        });
    match (id, module.build_id.is_empty()) {
        (Some(id), false) if id == module.build_id => Ok(Proof::BuildId),
        (Some(_), false) => Err(Refusal::Because("its build id is another one".to_owned())),
        (None, false) => Err(Refusal::Because(
            "it has no build id, the module has one".to_owned(),
        )),
        (_, true) => fits(file.len(), mapped, module).map(|()| Proof::Shape),
    }
}

fn prove_pe(
    file: &PlainFile,
    memory: &dyn Memory,
    mapped: &[MappedFile],
    module: &Module,
) -> Result<Proof, Refusal> {
    let ours = PeHeaders::in_file(file)
        .ok_or_else(|| Refusal::Because("its PE header is damaged".to_owned()))?;
    // Windows lists time stamp and image size of every module.
    if module.build_id.len() == 8 {
        let listed = [
            ours.time_stamp.to_le_bytes(),
            ours.size_of_image.to_le_bytes(),
        ]
        .concat();
        return if module.build_id == listed {
            Ok(Proof::Headers)
        } else {
            Err(Refusal::Because(
                "its time stamp and image size are those of another build".to_owned(),
            ))
        };
    }
    match PeHeaders::in_memory(memory, module.base) {
        Some(theirs) if theirs.identity() == ours.identity() => Ok(Proof::Headers),
        Some(_) => Err(Refusal::Because(
            "its PE header is that of another build".to_owned(),
        )),
        None => {
            fits(file.len(), mapped, module)?;
            is_laid_out(&ours, mapped, module).map(|()| Proof::Shape)
        }
    }
}

/// Every mapping is either flat (the file as it is) or where the loader would put one of the file's sections.
fn is_laid_out(file: &PeHeaders, mapped: &[MappedFile], module: &Module) -> Result<(), Refusal> {
    let end = module.base.saturating_add(module.size);
    let own = |m: &&MappedFile| m.path == module.path && m.start >= module.base && m.start < end;
    for m in mapped.iter().filter(own) {
        let distance = m.start - module.base;
        if distance != m.offset && !file.places_section(distance, m.offset) {
            return Err(Refusal::Because(format!(
                "none of its sections belongs where the process had mapped its offset {:#x}",
                m.offset
            )));
        }
    }
    Ok(())
}

/// Every mapping of the module must lie within the file, and the file must not be much longer than what is mapped.
fn fits(len: u64, mapped: &[MappedFile], module: &Module) -> Result<(), Refusal> {
    let end = module.base.saturating_add(module.size);
    let own = |m: &&MappedFile| m.path == module.path && m.start >= module.base && m.start < end;
    let reach = mapped
        .iter()
        .filter(own)
        .map(|m| m.offset.saturating_add(m.end - m.start))
        .max()
        .unwrap_or(0);
    // Mappings are rounded up to pages (4 KiB, 64 KiB on some arm64 systems).
    if reach > len.saturating_add(0x1_0000) {
        return Err(Refusal::Because(format!(
            "it has {len} bytes while the process had mapped it up to {reach}"
        )));
    }
    Ok(())
}

fn file_array<const N: usize>(file: &PlainFile, offset: u64) -> Option<[u8; N]> {
    let mut buf = [0; N];
    (file.read_at(offset, &mut buf).ok()? == N).then_some(buf)
}

/// Program headers of an ELF file on disk.
pub(crate) fn file_program_headers(
    file: &dyn ReadAt,
    head: &[u8; EHDR_BYTES],
) -> Vec<ProgramHeader> {
    let table = u64_at(head, 32).unwrap_or(0);
    let count = usize::from(u16_at(head, 56).unwrap_or(0).min(256));
    let mut bytes = vec![0; count * PHDR_BYTES];
    let n = file.read_at(table, &mut bytes).unwrap_or(0);
    bytes[..n]
        .chunks_exact(PHDR_BYTES)
        .filter_map(ProgramHeader::parse)
        .collect()
}
