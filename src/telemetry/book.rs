//! The accounts of one worker: opened with each request, closed with the end of its reply, told to the
//! log and to the cells of its route, and kept for the next one.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::Notify;

use crate::config::model::{AccessLog, LogFormat};
use crate::limits::{ACCOUNTS_KEPT_MAX, LOG_BATCH_BYTES, LOG_BATCH_WAIT};
use crate::memory::Budget;

use super::account::{Account, Outcome};
use super::line::{self, Manner};
use super::mishaps::{Mishap, Mishaps};
use super::sink::{Output, Outputs, Sink};
use super::trace::Tracer;

/// What a worker knows of the exchanges under way.
#[derive(Debug, Default)]
pub struct Book {
    free: RefCell<Vec<Rc<Account>>>,
    under_way: Cell<u64>,
    pen: RefCell<Option<Pen>>,
    /// Of the process's life.
    tracer: OnceCell<Tracer>,
    waiting: Notify,
    mishaps: Mishaps,
    budget: Arc<Budget>,
}

/// Writes lines of one generation.
#[derive(Debug)]
struct Pen {
    rule: AccessLog,
    manner: Manner,
    sink: Arc<Sink>,
    random: RefCell<fastrand::Rng>,
    batch: RefCell<Vec<u8>>,
    lines: Cell<u64>,
}

impl Book {
    /// Accounts whose bodies are charged to this.
    #[must_use]
    pub fn charging(budget: Arc<Budget>) -> Self {
        let mut book = Self::default();
        book.budget = budget;
        book
    }

    /// An account for a request that is there now.
    #[must_use]
    pub fn open(self: &Rc<Self>) -> Rc<Account> {
        let free = self.free.borrow_mut().pop();
        let account = free.unwrap_or_else(|| Rc::new(Account::charging(Arc::clone(&self.budget))));
        account.begin(self.pen.borrow().is_some());
        account
    }

    /// Exchanges that are not at their end.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.under_way.get()
    }

    /// The last exchanges that failed.
    #[must_use]
    pub fn mishaps(&self) -> Vec<Mishap> {
        self.mishaps.all()
    }

    /// Closes the account when what is returned is dropped.
    #[must_use]
    pub fn follow(self: &Rc<Self>, account: &Rc<Account>) -> Open {
        self.under_way.set(self.under_way.get().saturating_add(1));
        Open {
            book: Rc::clone(self),
            account: Rc::clone(account),
        }
    }

    /// Logs as this says from now on, to an output that has been opened before.
    ///
    /// # Errors
    /// It was not, and can't be.
    pub fn log(&self, rule: Option<&AccessLog>, outputs: &Outputs) -> io::Result<()> {
        if let Some(spans) = outputs.spans() {
            self.tracer.get_or_init(|| Tracer::new(spans));
        }
        if self.pen.borrow().as_ref().map(|pen| &pen.rule) == rule {
            return Ok(());
        }
        self.flush();
        let pen = match rule {
            None => None,
            Some(rule) => Some(Pen {
                sink: outputs.sink(&rule.output)?,
                manner: Manner {
                    format: format(rule),
                    project: rule.project.clone(),
                    query: rule.query,
                },
                rule: rule.clone(),
                random: RefCell::default(),
                batch: RefCell::default(),
                lines: Cell::default(),
            }),
        };
        self.pen.replace(pen);
        Ok(())
    }

    /// Hands over lines that have waited long enough. Never ends.
    pub async fn keep_writing(self: Rc<Self>) {
        loop {
            self.waiting.notified().await;
            tokio::time::sleep(LOG_BATCH_WAIT).await;
            self.flush();
        }
    }

    /// Hands over all lines.
    pub fn flush(&self) {
        if let Some(pen) = &*self.pen.borrow() {
            pen.flush();
        }
        if let Some(tracer) = self.tracer.get() {
            tracer.flush();
        }
    }

    /// Whether any request may be traced.
    #[must_use]
    pub fn is_tracing(&self) -> bool {
        self.tracer.get().is_some()
    }

    /// Decides whether the request is traced, if any are, and notes what it says of its trace.
    pub fn trace(&self, account: &Account, headers: &HeaderMap, tls: bool) {
        if let Some(tracer) = self.tracer.get() {
            let (trace, begun) = tracer.begin(headers, tls, account.handshake());
            account.note_trace(Some(trace));
            account.note_begun(begun);
        }
    }

    fn close(&self, account: &Rc<Account>) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
        let outcome = account.outcome();
        account.count(outcome);
        self.mishaps.note(account, outcome);
        if account.is_told()
            && let Some(pen) = &*self.pen.borrow()
            && pen.is_chosen(outcome)
            && pen.write(account, outcome)
        {
            self.waiting.notify_one();
        }
        if let Some(tracer) = self.tracer.get()
            && let Some(trail) = account.trail(outcome)
            && tracer.keep(trail)
        {
            self.waiting.notify_one();
        }
        // Whoever still holds it has nothing more to say.
        if Rc::strong_count(account) <= 2 {
            account.clear();
            let mut free = self.free.borrow_mut();
            if free.len() < ACCOUNTS_KEPT_MAX {
                free.push(Rc::clone(account));
            }
        }
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Pen {
    fn is_chosen(&self, outcome: Outcome) -> bool {
        let fine = outcome.blame.is_none() && (200..300).contains(&outcome.status);
        !fine
            || self.rule.sample_2xx.is_all()
            || self.rule.sample_2xx.takes(self.random.borrow_mut().f64())
    }

    /// Whether it is the first to wait.
    fn write(&self, account: &Account, outcome: Outcome) -> bool {
        let mut batch = self.batch.borrow_mut();
        let first = batch.is_empty();
        line::put(account, outcome, &self.manner, &mut batch);
        self.lines.set(self.lines.get().saturating_add(1));
        let full = batch.len() >= LOG_BATCH_BYTES;
        drop(batch);
        if full {
            self.flush();
        }
        first && !full
    }

    fn flush(&self) {
        let mut batch = self.batch.borrow_mut();
        if !batch.is_empty() {
            let room = batch.capacity();
            let bytes = std::mem::replace(&mut *batch, Vec::with_capacity(room));
            self.sink.put(bytes, self.lines.take());
        }
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.flush();
    }
}

/// By what the output is, where the config leaves it open.
fn format(rule: &AccessLog) -> LogFormat {
    let is_terminal = match rule.output {
        Output::Stdout => io::stdout().is_terminal(),
        Output::Stderr => io::stderr().is_terminal(),
        Output::File(_) => false,
    };
    rule.format.unwrap_or(match is_terminal {
        true => LogFormat::Pretty,
        false => LogFormat::Json,
    })
}

/// An account that is kept: dropping it closes it.
#[derive(Debug)]
pub struct Open {
    book: Rc<Book>,
    account: Rc<Account>,
}

impl Open {
    #[must_use]
    pub fn account(&self) -> &Rc<Account> {
        &self.account
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.book.close(&self.account);
    }
}
