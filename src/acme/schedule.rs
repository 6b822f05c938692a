//! When to do what for one certificate. Pure: facts and the time come in, the next action comes out.
//!
//! A certificate is renewed where the authority's window says (RFC 9773), at a moment in it that was
//! drawn once and is kept; without a window when a third of its life is left, or half of one below ten
//! days. Failures wait 1, 10 and 100 minutes and then a day, never more than an eighth of what is left
//! of the certificate, and always as long as the authority wants; one that isn't reached is tried again
//! after ten minutes at most, and a certificate that has run out after an hour. They are part of what is
//! kept: a restart is no new start, other settings are.
//!
//! ```text
//! absent ──order──► valid ──window passed, or life running out──► order ──► valid
//!    ▲ failure: wait, and with another authority or on trial first ◄──┘ failure (the old one serves)
//! ```

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::limits::ACME_RETRY_AFTER_MAX;

/// Waits after failures, from the first on.
const WAITS: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(100 * 60),
    Duration::from_secs(24 * 60 * 60),
];
/// The most after attempts that the authority never heard of: they cost it nothing.
const UNHEARD: Duration = Duration::from_secs(10 * 60);
/// The most while a certificate that has run out is served, as long as authorities want between attempts
/// for a name that fail (Let's Encrypt: five in an hour).
const EXPIRED: Duration = Duration::from_secs(60 * 60);
/// What spreads those who would do a thing at once: two per cent either way.
const SPREAD: f64 = 0.02;
/// Certificates that live shorter are renewed at half of it.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// A certificate that has just come isn't replaced sooner: an authority whose windows are all in the
/// past, or whose certificates begin long before they come, would be asked for ever, and so would all by
/// a clock that is ahead. Nor before a tenth of a very short life, or half of what there was left of it.
const REST: Duration = Duration::from_secs(60 * 60);
/// No wait that is kept is longer, with a day for clocks that are set back a little.
const AHEAD_MAX: Duration = ACME_RETRY_AFTER_MAX.saturating_add(Duration::from_secs(24 * 60 * 60));
/// With less than this part of its life left, a certificate is renewed whatever its window says.
const EMERGENCY: u32 = 20;

/// What is known of a certificate that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Whether its authority may be asked for a window.
    pub has_window: bool,
}

/// What is kept of a name's course, beside the certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Course {
    /// Failures in a row.
    pub failures: u32,
    /// Nothing is ordered before, in seconds since 1970.
    pub not_before: Option<u64>,
    /// The next order goes to the authority's place for trials.
    pub trial: bool,
    pub window: Option<Drawn>,
    /// When to ask for the window again.
    pub ask_at: Option<u64>,
    /// When the certificate came.
    pub since: Option<u64>,
    /// From 0 to 1: where in the spread without a window this certificate is.
    pub draw: f64,
    /// In the words of whoever refused.
    pub error: Option<String>,
    /// An operator wants it renewed now.
    pub asked: bool,
}

/// A window, and the moment in it that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    pub start: u64,
    pub end: u64,
    pub at: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until then.
    Wait(SystemTime),
    /// Ask when to renew.
    AskWindow,
    Order {
        /// Which of the authorities in turn.
        authority: usize,
        /// Not for the certificate, but to see whether there would be one.
        trial: bool,
    },
}

/// The next action for a certificate of one of `authorities` in turn.
#[must_use]
pub fn next(life: Option<&Life>, course: &Course, authorities: usize, now: SystemTime) -> Action {
    let order = Action::Order {
        authority: turn(course.failures, authorities),
        trial: course.trial,
    };
    let held = course
        .not_before
        .map(time)
        .filter(|at| lies_ahead(*at, now));
    let Some(life) = life else {
        return held.map_or(order, Action::Wait);
    };
    let since = course.since.map(time).filter(|since| *since <= now);
    let due = due(life, course, since);
    if due <= now || course.asked {
        return held.map_or(order, Action::Wait);
    }
    if !life.has_window {
        return Action::Wait(due);
    }
    match course.ask_at.map(time) {
        Some(ask) if lies_ahead(ask, now) => Action::Wait(due.min(ask)),
        _ => Action::AskWindow,
    }
}

/// When a certificate is to be renewed, failures apart.
#[must_use]
pub fn renew_at(life: &Life, course: &Course) -> SystemTime {
    due(life, course, course.since.map(time))
}

/// For a certificate that came at `since`.
fn due(life: &Life, course: &Course, since: Option<SystemTime>) -> SystemTime {
    let whole = life
        .not_after
        .duration_since(life.not_before)
        .unwrap_or_default();
    let left = whole / if whole < SHORT_LIFE { 2 } else { 3 };
    let spread = whole.mul_f64(SPREAD);
    let usual = (life.not_after - left + spread.mul_f64(course.draw * 2.0)) - spread;
    let emergency = life.not_after - whole / EMERGENCY;
    let drawn = course.window.as_ref().filter(|w| {
        // One that ends after the certificate is a mistake.
        life.has_window && time(w.end) <= life.not_after
    });
    let due = drawn.map_or(usual, |w| time(w.at)).min(emergency);
    let rested = since.and_then(|since| {
        let left = life.not_after.duration_since(since).ok()?;
        since.checked_add(REST.min(whole / 10).min(left / 2))
    });
    rested.map_or(due, |rested| due.max(rested))
}

/// Whether a moment that was kept is still to come. One that is further off than any that is ever kept
/// was reckoned by a clock that has been set back since: by that, certificates would run out.
fn lies_ahead(at: SystemTime, now: SystemTime) -> bool {
    match at.duration_since(now) {
        Ok(left) => !left.is_zero() && left <= AHEAD_MAX,
        Err(_) => false,
    }
}

/// Whose turn it is: each failure goes to the next.
#[must_use]
pub fn turn(failures: u32, authorities: usize) -> usize {
    usize::try_from(failures)
        .unwrap_or_default()
        .checked_rem(authorities)
        .unwrap_or_default()
}

impl Life {
    /// The longest wait after a failure: an eighth of what is left, so that there are always more
    /// chances, and no less than a hundredth of the whole, or a minute, so that the last moments are
    /// no hail of orders.
    fn patience(&self, now: SystemTime) -> Duration {
        let whole = self.not_after.duration_since(self.not_before);
        let least = (whole.unwrap_or_default() / 100).clamp(Duration::from_secs(1), WAITS[0]);
        match self.not_after.duration_since(now) {
            Ok(left) => (left / 8).max(least),
            Err(_) => EXPIRED,
        }
    }
}

impl Course {
    /// An operator wants a certificate now: nothing that was before keeps from it.
    pub fn ask(&mut self) {
        self.forgive();
        self.asked = true;
    }

    /// What has failed did so for a reason that is gone: the next attempt is the first.
    pub fn forgive(&mut self) {
        (self.failures, self.not_before) = (0, None);
    }

    /// An order has failed: waits, with `chance` from 0 to 1.
    pub fn failed(&mut self, failure: &Failure<'_>, life: Option<&Life>, now: SystemTime) {
        self.asked = false;
        self.failures = self.failures.saturating_add(1);
        self.error = Some(failure.said.to_owned());
        self.trial = failure.may_try;
        let authorities = failure.authorities.max(1);
        let round = usize::try_from(self.failures).unwrap_or(usize::MAX) / authorities;
        let own = match round.checked_sub(1) {
            // The next authority hasn't been asked yet.
            None => Duration::ZERO,
            Some(_) if turn(self.failures, authorities) != 0 => Duration::ZERO,
            Some(n) => WAITS.get(n).or(WAITS.last()).copied().unwrap_or_default(),
        };
        let own = own.mul_f64(1.0 - SPREAD + SPREAD * 2.0 * failure.chance);
        let own = life.map_or(own, |life| own.min(life.patience(now)));
        let own = if failure.heard { own } else { own.min(UNHEARD) };
        // What another authority wants is its own affair.
        let wanted = match turn(self.failures, authorities) {
            0 => failure.retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        // Never at once: a certificate that has long expired has an eighth of nothing left.
        let least = match own.is_zero() && authorities == 1 {
            true => WAITS.first().copied().unwrap_or_default(),
            false => Duration::ZERO,
        };
        let wait = own.max(wanted).max(least).min(ACME_RETRY_AFTER_MAX);
        self.not_before = Some(seconds(now.checked_add(wait).unwrap_or(now)));
    }

    /// How long nothing is ordered from `now` on, after a failure.
    #[must_use]
    pub fn waits(&self, now: SystemTime) -> Option<Duration> {
        let until = self.not_before.map(time)?;
        Some(until.duration_since(now).unwrap_or_default())
    }

    /// A trial has passed: the real order may follow at once.
    pub fn passed(&mut self) {
        (self.trial, self.not_before) = (false, None);
    }

    /// A new certificate is there.
    pub fn renewed(&mut self, now: SystemTime, chance: f64) {
        *self = Self {
            since: Some(seconds(now)),
            draw: chance,
            ..Self::default()
        };
    }

    /// The authority has told a window, to be asked for again at `ask_at`. A moment that was drawn in
    /// the same window stays. Whether it is another window than before.
    pub fn told(
        &mut self,
        start: SystemTime,
        end: SystemTime,
        ask_at: SystemTime,
        chance: f64,
    ) -> bool {
        self.ask_at = Some(seconds(ask_at));
        let (from, to) = (seconds(start), seconds(end));
        if let Some(old) = &self.window
            && (old.start, old.end) == (from, to)
        {
            return false;
        }
        let wide = Duration::from_secs(to.saturating_sub(from));
        let at = seconds(start + wide.mul_f64(chance));
        let moved = self.window.is_some();
        self.window = Some(Drawn {
            start: from,
            end: to,
            at,
        });
        moved
    }

    /// The authority didn't tell: the last window holds until it is asked again.
    pub fn untold(&mut self, ask_at: SystemTime) {
        self.ask_at = Some(seconds(ask_at));
    }
}

/// How an order failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    pub said: &'a str,
    /// How long the authority wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether the authority was reached at all.
    pub heard: bool,
    /// Whether a trial would tell if it is mended.
    pub may_try: bool,
    /// How many there are to turn to.
    pub authorities: usize,
    /// From 0 to 1.
    pub chance: f64,
}

/// Seconds since 1970.
#[must_use]
pub fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The other way.
#[must_use]
pub fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
