//! The threads behind [`super::SealWriter`]: a queue of chunks, workers that pack them, a writer that keeps the order.

use super::packer::{Level, Packed, Packer};
use super::{Pace, SealOptions, Sealed};
use crate::seek_table::TableBuilder;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Raw content of one frame on its way to a worker.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Bytes as written, and how to pack them.
    Bytes(Vec<u8>, Level),
    /// A whole frame of zeros.
    Zeros,
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A chunk is there for a worker, or no more will come.
    work: Condvar,
    /// The next frame is there for the writer, or no more will come.
    ready: Condvar,
    /// A chunk left the pipeline, or it failed.
    space: Condvar,
    max_in_flight: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(u64, Chunk)>,
    packed: BTreeMap<u64, Packed>,
    /// Emptied buffers for the next chunks and frames.
    raw_pool: Vec<Vec<u8>>,
    packed_pool: Vec<Vec<u8>>,
    n_submitted: u64,
    n_written: u64,
    closed: bool,
    /// The first failure; the kind and text are handed out as often as asked.
    failed: Option<(io::ErrorKind, Option<i32>, String)>,
}

impl State {
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            // The raw number keeps `ErrorKind::StorageFull` and friends recognizable.
            Some((_, Some(code), _)) => Err(io::Error::from_raw_os_error(*code)),
            Some((kind, None, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock; a poisoned lock is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        on.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: &io::Error) {
        let mut state = self.lock();
        if state.failed.is_none() {
            state.failed = Some((error.kind(), error.raw_os_error(), error.to_string()));
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        self.work.notify_all();
        self.ready.notify_all();
        self.space.notify_all();
    }
}

/// Turns the panic of a thread into a failure of the pipeline, so that nobody waits for it.
struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&io::Error::other("a sealing thread panicked"));
        }
    }
}

/// The running threads.
#[derive(Debug)]
pub(super) struct Pipeline<W> {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<io::Result<(Sealed, W)>>>,
    frame_bytes: usize,
}

impl<W: Write + Send + 'static> Pipeline<W> {
    pub(super) fn start(sink: W, options: &SealOptions) -> io::Result<Self> {
        let n_workers = options.threads.clamp(1, 64);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            ready: Condvar::new(),
            space: Condvar::new(),
            max_in_flight: 2 * n_workers + 2,
        });
        // Made first: if a later thread cannot start, dropping it stops those that run.
        let mut pipeline = Self {
            shared,
            workers: Vec::with_capacity(n_workers),
            writer: None,
            frame_bytes: options.frame_bytes,
        };
        for i in 0..n_workers {
            let packer = Packer::new(options)?;
            let shared = Arc::clone(&pipeline.shared);
            let thread = std::thread::Builder::new().name(format!("seal-{i}"));
            pipeline.workers.push(thread.spawn(move || {
                let _guard = PanicGuard(Arc::clone(&shared));
                work(&shared, packer);
            })?);
        }
        let shared = Arc::clone(&pipeline.shared);
        let empty_frame = Packer::new(options)?.pack(&[], Level::Full, Vec::new())?;
        let out = Output {
            sink,
            hasher: blake3::Hasher::new(),
            table: TableBuilder::default(),
            stored_bytes: 0,
            pace: options.bytes_per_second.map(Pace::new),
        };
        let thread = std::thread::Builder::new().name("seal-write".to_owned());
        pipeline.writer = Some(thread.spawn(move || {
            let _guard = PanicGuard(Arc::clone(&shared));
            let result = write_frames(&shared, out, empty_frame);
            if let Err(error) = &result {
                shared.fail(error);
            }
            result
        })?);
        Ok(pipeline)
    }

    /// An empty buffer for the next chunk.
    pub(super) fn buffer(&mut self) -> io::Result<Vec<u8>> {
        let mut state = self.shared.lock();
        state.check()?;
        let pooled = state.raw_pool.pop();
        drop(state);
        Ok(pooled.unwrap_or_else(|| Vec::with_capacity(self.frame_bytes)))
    }

    /// Hands a chunk to the workers; waits while too many are on their way.
    pub(super) fn submit(&mut self, chunk: Chunk) -> io::Result<()> {
        let mut state = self.shared.lock();
        loop {
            state.check()?;
            if ((state.n_submitted - state.n_written) as usize) < self.shared.max_in_flight {
                break;
            }
            state = self.shared.wait(&self.shared.space, state);
        }
        let sequence = state.n_submitted;
        state.n_submitted += 1;
        state.queue.push_back((sequence, chunk));
        self.shared.work.notify_one();
        Ok(())
    }

    /// Reports an earlier failure.
    pub(super) fn check(&self) -> io::Result<()> {
        self.shared.lock().check()
    }

    /// No more chunks: waits until all are written.
    pub(super) fn finish(mut self) -> io::Result<(Sealed, W)> {
        self.shared.lock().closed = true;
        self.shared.wake_all();
        let writer = self.writer.take();
        match writer.map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(io::Error::other("the sealing thread panicked")),
        }
    }
}

impl<W> Drop for Pipeline<W> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if !state.closed {
            state.failed.get_or_insert_with(|| {
                let text = "sealing was given up before it was finished".to_owned();
                (io::ErrorKind::Interrupted, None, text)
            });
        }
        drop(state);
        self.shared.wake_all();
        for thread in self.workers.drain(..) {
            // A panic was turned into a failure by its guard.
            let _ = thread.join();
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// A worker: takes chunks until there are no more.
fn work(shared: &Shared, mut packer: Packer) {
    loop {
        let mut state = shared.lock();
        let (sequence, chunk) = loop {
            if state.failed.is_some() {
                return;
            }
            if let Some(next) = state.queue.pop_front() {
                break next;
            }
            if state.closed {
                return;
            }
            state = shared.wait(&shared.work, state);
        };
        let out = state.packed_pool.pop().unwrap_or_default();
        drop(state);
        let (packed, emptied) = match chunk {
            Chunk::Bytes(raw, level) => (packer.pack(&raw, level, out), Some(raw)),
            Chunk::Zeros => (Ok(packer.zeros()), None),
        };
        let packed = match packed {
            Ok(packed) => packed,
            Err(error) => return shared.fail(&error),
        };
        let mut state = shared.lock();
        if let Some(mut raw) = emptied {
            raw.clear();
            state.raw_pool.push(raw);
        }
        state.packed.insert(sequence, packed);
        if sequence == state.n_written {
            shared.ready.notify_one();
        }
    }
}

/// Where packed bytes go, and what is counted on the way.
struct Output<W> {
    sink: W,
    hasher: blake3::Hasher,
    table: TableBuilder,
    stored_bytes: u64,
    pace: Option<Pace>,
}

impl<W: Write> Output<W> {
    fn put(&mut self, shared: &Shared, bytes: &[u8]) -> io::Result<()> {
        if let Some(pace) = &mut self.pace {
            let until = std::time::Instant::now() + pace.delay(bytes.len() as u64);
            let mut state = shared.lock();
            loop {
                state.check()?;
                let left = until.saturating_duration_since(std::time::Instant::now());
                if left.is_zero() {
                    break;
                }
                state = match shared.ready.wait_timeout(state, left) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
        }
        self.sink.write_all(bytes)?;
        self.hasher.update(bytes);
        self.stored_bytes += bytes.len() as u64;
        Ok(())
    }

    fn put_frame(&mut self, shared: &Shared, packed: &Packed) -> io::Result<()> {
        self.table
            .push(packed.bytes.len() as u32, packed.raw_bytes)?;
        self.put(shared, &packed.bytes)
    }
}

/// The writer: frames in order, then the table.
fn write_frames<W: Write>(
    shared: &Shared,
    mut out: Output<W>,
    empty_frame: Packed,
) -> io::Result<(Sealed, W)> {
    loop {
        let mut state = shared.lock();
        let packed = loop {
            state.check()?;
            let next = state.n_written;
            if let Some(packed) = state.packed.remove(&next) {
                break Some(packed);
            }
            if state.closed && next == state.n_submitted {
                break None;
            }
            state = shared.wait(&shared.ready, state);
        };
        drop(state);
        let Some(packed) = packed else { break };
        out.put_frame(shared, &packed)?;
        let mut state = shared.lock();
        state.n_written += 1;
        state.packed_pool.push(packed.bytes);
        shared.space.notify_one();
    }
    if out.table.n_frames() == 0 {
        // A file of nothing but a skippable frame confuses tools; an empty frame makes it ordinary zstd.
        out.put_frame(shared, &empty_frame)?;
    }
    let table = out.table.encode();
    out.put(shared, &table)?;
    out.sink.flush()?;
    let sealed = Sealed {
        raw_bytes: out.table.raw_bytes(),
        stored_bytes: out.stored_bytes,
        blake3: out.hasher.finalize().to_hex().to_string(),
        n_frames: out.table.n_frames(),
    };
    Ok((sealed, out.sink))
}
