//! Where lines of a log go: a bounded queue, and a thread that writes. Who logs never waits: what the
//! queue has no room for (a pipe that nobody reads, a disk that is full) is dropped, and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::trace::Spans;
pub use crate::config::model::LogOutput as Output;
use crate::limits::{LOG_BATCHES_MAX, LOG_END_MAX, LOG_FILE_LOOK};

#[derive(Debug)]
enum Order {
    Write {
        bytes: Vec<u8>,
        lines: u64,
    },
    /// Tell when all that came before is written.
    Tell(SyncSender<()>),
}

/// One output, for any number of threads.
#[derive(Debug)]
pub struct Sink {
    orders: SyncSender<Order>,
    counts: Arc<Counts>,
    output: Output,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Sink {
    /// Hands over whole lines. Never waits; when there is no room they are dropped and counted.
    pub fn put(&self, bytes: Vec<u8>, lines: u64) {
        if self.orders.try_send(Order::Write { bytes, lines }).is_err() {
            self.counts.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Waits until what was handed over is written, at most `until` then: a pipe may be blocked.
    fn finish(&self, until: Instant) {
        let (tell, told) = sync_channel(1);
        let mut order = Order::Tell(tell);
        while let Err(TrySendError::Full(again)) = self.orders.try_send(order) {
            if Instant::now() >= until {
                return;
            }
            order = again;
            thread::sleep(FULL_QUEUE_LOOK);
        }
        let left = until.saturating_duration_since(Instant::now());
        told.recv_timeout(left).ok();
    }

    #[must_use]
    pub fn output(&self) -> &Output {
        &self.output
    }
}

/// What became of the lines of one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkReport {
    pub output: String,
    pub written: u64,
    pub dropped: u64,
}

/// The outputs of the process.
#[derive(Debug, Default)]
pub struct Outputs {
    all: Mutex<Vec<Known>>,
    spans: OnceLock<Spans>,
}

#[derive(Debug)]
struct Known {
    output: Output,
    /// Gone when nobody may begin to log there any more.
    sink: Option<Arc<Sink>>,
    counts: Arc<Counts>,
}

impl Outputs {
    /// The sink of an output; the first to ask opens it.
    ///
    /// # Errors
    /// The file can't be opened, or no thread can be had.
    pub fn sink(&self, output: &Output) -> io::Result<Arc<Sink>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().position(|k| k.output == *output);
        let known = known.and_then(|at| all.get_mut(at));
        if let Some(sink) = known.as_ref().and_then(|k| k.sink.clone()) {
            return Ok(sink);
        }
        let counts = known.as_ref().map(|k| Arc::clone(&k.counts));
        let counts = counts.unwrap_or_default();
        let target = Target::open(output)?;
        let (orders, coming) = sync_channel(LOG_BATCHES_MAX);
        let writer = Writer {
            target,
            counts: Arc::clone(&counts),
            state: State::Writing,
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(&coming))?;
        let sink = Arc::new(Sink {
            orders,
            counts: Arc::clone(&counts),
            output: output.clone(),
        });
        let now = Known {
            output: output.clone(),
            sink: Some(Arc::clone(&sink)),
            counts,
        };
        match known {
            Some(known) => *known = now,
            None => all.push(now),
        }
        Ok(sink)
    }

    /// Where spans go, if anywhere.
    #[must_use]
    pub fn spans(&self) -> Option<&Spans> {
        self.spans.get()
    }

    /// Spans go there from now on; the first word stands.
    pub fn export(&self, spans: Spans) {
        self.spans.set(spans).ok();
    }

    /// Lets go of outputs that are not among these; who still logs there has them for so long.
    pub fn retain(&self, wanted: impl Fn(&Output) -> bool) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for known in all.iter_mut().filter(|k| !wanted(&k.output)) {
            known.sink = None;
        }
    }

    /// What became of all lines.
    #[must_use]
    pub fn report(&self) -> Vec<SinkReport> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |known: &Known| SinkReport {
            output: match &known.output {
                Output::Stdout => "stdout".to_owned(),
                Output::Stderr => "stderr".to_owned(),
                Output::File(path) => path.display().to_string(),
            },
            written: known.counts.written.load(Ordering::Relaxed),
            dropped: known.counts.dropped.load(Ordering::Relaxed),
        };
        all.iter().map(one).collect()
    }

    /// Waits until what was handed over is written, for a while.
    pub fn finish(&self) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + LOG_END_MAX;
        for sink in all.iter().filter_map(|k| k.sink.as_ref()) {
            sink.finish(until);
        }
        if let Some(spans) = self.spans() {
            spans.finish();
        }
    }
}

/// What is written to. The standard streams past the library's locks: a blocked write would keep
/// them.
#[derive(Debug)]
struct Target {
    file: File,
    /// Of a file with a name: it may be rotated.
    path: Option<PathBuf>,
    looked: Instant,
}

impl Target {
    fn open(output: &Output) -> io::Result<Self> {
        let file = match output {
            Output::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            Output::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
            Output::File(path) => append_to(path)?,
        };
        Ok(Self {
            file,
            path: match output {
                Output::File(path) => Some(path.clone()),
                Output::Stdout | Output::Stderr => None,
            },
            looked: Instant::now(),
        })
    }

    /// How much has been written is in `done`, also when it fails.
    fn write(&mut self, bytes: &[u8], done: &mut usize) -> io::Result<()> {
        if let Some(path) = &self.path
            && self.looked.elapsed() >= LOG_FILE_LOOK
        {
            self.looked = Instant::now();
            // Rotated: the name is another file's, or nobody's.
            if !is_at(&self.file, path) {
                self.file = append_to(path)?;
            }
        }
        while let Some(rest) = bytes.get(*done..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => *done = done.saturating_add(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Someone who shares the pipe has made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(FULL_QUEUE_LOOK);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let of = |m: std::fs::Metadata| (m.dev(), m.ino());
    let here = std::fs::metadata(path).map(of).ok();
    here.is_some() && here == file.metadata().map(of).ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Writing,
    /// It has been said already.
    Failing,
    /// The same, amid a line.
    Torn,
}

struct Writer {
    target: Target,
    counts: Arc<Counts>,
    state: State,
}

impl Writer {
    fn run(mut self, coming: &Receiver<Order>) {
        while let Ok(order) = coming.recv() {
            match order {
                Order::Write { bytes, lines } => self.write(&bytes, lines),
                Order::Tell(done) => _ = done.try_send(()),
            }
        }
    }

    fn write(&mut self, bytes: &[u8], lines: u64) {
        if self.state == State::Torn && self.target.write(b"\n", &mut 0).is_ok() {
            self.state = State::Failing;
        }
        let mut done = 0;
        match self.target.write(bytes, &mut done) {
            Ok(()) => {
                self.state = State::Writing;
                self.counts.written.fetch_add(lines, Ordering::Relaxed);
            }
            Err(error) => {
                self.counts.dropped.fetch_add(lines, Ordering::Relaxed);
                if self.state == State::Writing {
                    tracing::error!(%error, "the log can't be written: lines are dropped");
                }
                self.state = match done {
                    0 if self.state != State::Torn => State::Failing,
                    _ => State::Torn,
                };
            }
        }
    }
}

/// One batch for each event of the program's own log.
#[derive(Clone, Debug)]
pub struct Events(pub Arc<Sink>);

impl Write for Events {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes.to_vec(), 1);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Between two looks at a queue that is full, or a pipe.
const FULL_QUEUE_LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_and_a_rotated_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let outputs = Outputs::default();
        let output = Output::File(path.clone());
        let sink = outputs.sink(&output).unwrap();
        sink.put(b"one\n".to_vec(), 1);
        outputs.finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        let mut target = Target::open(&output).unwrap();
        std::fs::rename(&path, folder.path().join("access.log.2")).unwrap();
        target.looked -= LOG_FILE_LOOK;
        target.write(b"two\n", &mut 0).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(outputs.report()[0].written, 1);
    }

    #[test]
    fn what_nobody_writes_is_dropped_and_counted() {
        // Nobody takes from the queue.
        let (orders, _coming) = sync_channel(2);
        let counts = Arc::<Counts>::default();
        let sink = Sink {
            orders,
            counts: Arc::clone(&counts),
            output: Output::Stdout,
        };
        for _ in 0..5 {
            sink.put(b"a\nb\n".to_vec(), 2);
        }
        assert_eq!(counts.dropped.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn a_full_disk_is_counted() {
        let outputs = Outputs::default();
        let sink = outputs.sink(&Output::File("/dev/full".into())).unwrap();
        sink.put(b"line\n".to_vec(), 1);
        outputs.finish();
        let report = outputs.report();
        assert_eq!((report[0].written, report[0].dropped), (0, 1));
    }
}
