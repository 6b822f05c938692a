//! One order, from its names to the chain of certificates (RFC 8555 §7.4).
//!
//! Placing and fulfilling are apart, so that the order's address can be stored between: whoever dies
//! in the middle goes on with the same order. Fulfilling asks the authority for the order's state
//! after everything that failed, and goes on from there.

use std::collections::HashSet;
use std::time::Duration;

use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeStatus, Error, Identifier, NewOrder,
    Order, OrderStatus, Problem,
};
use rcgen::KeyPair;
use tokio::time::{Instant, sleep, timeout};

use crate::limits::{
    ACME_NONCES_MAX, ACME_POLL_MAX, ACME_POLL_MIN, ACME_STRIKE_PAUSE, ACME_STRIKES_MAX,
};

use super::authority::{Session, insist, is_bad_nonce};
use super::challenge::{Ask, Solvers};
use super::error::{AcmeError, Cause, Step};
use super::key;

/// What is wanted of an authority.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub names: &'a [Identifier],
    pub profile: Option<&'a str>,
    /// The certificate that the new one comes in place of, where the same authority issued it.
    pub replaces: Option<&'a CertificateIdentifier<'static>>,
}

/// An order that the authority has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub url: String,
    /// Whether it counts as a renewal, which no limit holds up.
    pub replaces: bool,
}

impl Session {
    /// Places an order. Dropping it may leave one behind that lapses.
    ///
    /// # Errors
    /// The authority says no or can't be reached.
    pub async fn place(&self, wanted: &Wanted<'_>) -> Result<Placed, AcmeError> {
        self.offers(wanted)?;
        let replaces = match self.directory.renewal_info {
            Some(_) => wanted.replaces,
            None => None,
        };
        match self.new_order(wanted, replaces).await {
            Err(error) if replaces.is_some() && !decides(&error) => {
                tracing::info!(%error, "the order is placed again as a new one");
                self.new_order(wanted, None).await
            }
            done => done,
        }
    }

    async fn new_order(
        &self,
        wanted: &Wanted<'_>,
        replaces: Option<&CertificateIdentifier<'static>>,
    ) -> Result<Placed, AcmeError> {
        let order = || {
            let order = NewOrder::new(wanted.names);
            let order = wanted.profile.into_iter().fold(order, NewOrder::profile);
            replaces
                .cloned()
                .into_iter()
                .fold(order, NewOrder::replaces)
        };
        let placed = insist!(self.account.new_order(&order()).await);
        let placed = placed.map_err(|e| AcmeError::told(Step::Order, e, &self.http))?;
        Ok(Placed {
            url: placed.url().to_owned(),
            replaces: replaces.is_some(),
        })
    }

    /// Profiles that the authority doesn't tell of must not be asked for.
    fn offers(&self, wanted: &Wanted<'_>) -> Result<(), AcmeError> {
        let profiles = &self.directory.meta.profiles;
        let Some(profile) = wanted.profile.filter(|p| !profiles.contains_key(*p)) else {
            return Ok(());
        };
        let known: Vec<_> = profiles.keys().map(String::as_str).collect();
        let offered = match known.as_slice() {
            [] => "none".to_owned(),
            known => known.join(", "),
        };
        let said = format!("there is no profile {profile:?}; the authority offers {offered}");
        Err(AcmeError::new(Step::Order, Cause::Unsupported(said)))
    }

    /// Answers the order's challenges and fetches the chain, as PEM text. Of the challenges that
    /// could be answered for a name, the one at `turn` is, round and round. Dropping it leaves the
    /// order as it is: this may be called for it again.
    ///
    /// # Errors
    /// The authority says no, or it takes longer than its patience.
    pub async fn fulfil(
        &self,
        url: &str,
        key: &KeyPair,
        solvers: &Solvers,
        turn: usize,
    ) -> Result<String, AcmeError> {
        let mut course = Course {
            session: self,
            url,
            key,
            solvers,
            turn,
            order: None,
            names: Vec::new(),
            presented: Vec::new(),
            readied: HashSet::new(),
            answered: false,
            ends: Instant::now() + self.patience,
            polled: 0,
            at: Step::Order,
        };
        let done = timeout(self.patience, course.run()).await;
        for ask in &course.presented {
            solvers.withdraw(ask).await;
        }
        done.unwrap_or_else(|_| {
            let slow = Cause::Slow(self.patience);
            Err(AcmeError::new(course.at.clone(), slow))
        })
    }

    fn told(&self, step: Step, error: Error) -> AcmeError {
        AcmeError::told(step, error, &self.http)
    }
}

/// Whether an error says nothing of what the order replaces, so that it would come again.
fn decides(error: &AcmeError) -> bool {
    match error.kind() {
        Some("alreadyReplaced" | "malformed" | "conflict" | "unauthorized") => false,
        Some(_) => true,
        // The library's word for an authority that knows of no replacing.
        None => match &error.cause {
            Cause::Other(said) => !said.contains("replaces"),
            _ => true,
        },
    }
}

/// An order on its way.
struct Course<'a> {
    session: &'a Session,
    url: &'a str,
    key: &'a KeyPair,
    solvers: &'a Solvers,
    turn: usize,
    /// As the authority last told it. `None` after a failure: it must be asked.
    order: Option<Order>,
    names: Vec<String>,
    presented: Vec<Ask>,
    /// Challenges that the authority was told to look at.
    readied: HashSet<String>,
    /// Whether nothing of the challenges is left to do but wait.
    answered: bool,
    ends: Instant,
    polled: u32,
    at: Step,
}

impl Course<'_> {
    async fn run(&mut self) -> Result<String, AcmeError> {
        let mut strikes = 0_u32;
        loop {
            let error = match self.step().await {
                Ok(Some(chain)) => return Ok(chain),
                Ok(None) => continue,
                Err(error) => error,
            };
            if !error.passes() || strikes >= ACME_STRIKES_MAX {
                return Err(error);
            }
            tracing::debug!(%error, "the order goes on after a failure");
            (self.order, self.answered) = (None, false);
            let pause = error.retry_after;
            let pause = pause.unwrap_or_else(|| ACME_STRIKE_PAUSE.saturating_mul(1 << strikes));
            strikes += 1;
            self.wait(pause, error).await?;
        }
    }

    /// Goes one step on from where the authority says that the order is.
    async fn step(&mut self) -> Result<Option<String>, AcmeError> {
        let Some(mut order) = self.order.take() else {
            let fetched = insist!(self.session.account.order(self.url.to_owned()).await);
            self.order = Some(fetched.map_err(|e| self.session.told(self.at.clone(), e))?);
            return Ok(None);
        };
        match order.state().status {
            OrderStatus::Pending => {
                if !self.answered {
                    self.at = Step::Authorization;
                    self.answer(&mut order).await?;
                    self.answered = true;
                }
                self.at = Step::Validation;
                self.poll(&mut order).await?;
            }
            OrderStatus::Ready => {
                self.at = Step::Finalize;
                self.finalize(&mut order).await?;
            }
            OrderStatus::Processing => {
                self.at = Step::Finalize;
                self.poll(&mut order).await?;
            }
            OrderStatus::Valid => {
                self.at = Step::Download;
                let chain = insist!(order.certificate().await);
                let chain = chain.map_err(|e| self.session.told(Step::Download, e))?;
                if chain.is_some() {
                    return Ok(chain);
                }
            }
            OrderStatus::Invalid => return Err(self.refusal(&mut order).await),
        }
        self.order = Some(order);
        Ok(None)
    }

    /// Presents what the challenges ask for, and tells the authority to look.
    async fn answer(&mut self, order: &mut Order) -> Result<(), AcmeError> {
        let asks = self.asks(order).await?;
        let mut new = false;
        for ask in asks {
            if self.presented.iter().any(|p| p.url == ask.url) {
                continue;
            }
            let done = self.solvers.present(&ask).await;
            let name = ask.name.clone();
            self.presented.push(ask);
            new = true;
            done.map_err(|e| AcmeError::new(Step::Challenge(name), Cause::Solver(e)))?;
        }
        if new {
            let settled = self.solvers.settle(&self.presented).await;
            settled.map_err(|(name, e)| AcmeError::new(Step::Challenge(name), Cause::Solver(e)))?;
        }
        let error = match self.ready(order).await {
            Err(error) if error.kind().is_some() && !error.passes() && !error.is_limit() => error,
            done => return done,
        };
        // A name that failed meanwhile ends the challenges of the others: tell of that one.
        match insist!(order.refresh().await) {
            Ok(state) if state.status == OrderStatus::Invalid => Err(self.refusal(order).await),
            _ => Err(error),
        }
    }

    /// What is to be answered of the order.
    async fn asks(&mut self, order: &mut Order) -> Result<Vec<Ask>, AcmeError> {
        let mut refused = 0;
        'again: loop {
            let mut asks = Vec::new();
            self.names.clear();
            let mut all = order.authorizations();
            while let Some(next) = all.next().await {
                let mut one = match next {
                    Ok(one) => one,
                    // What was read so far is remembered by the order.
                    Err(error) if is_bad_nonce(&error) && refused < ACME_NONCES_MAX => {
                        refused += 1;
                        continue 'again;
                    }
                    Err(error) => return Err(self.session.told(Step::Authorization, error)),
                };
                let name = one.identifier().to_string();
                self.names.push(name.clone());
                if one.status != AuthorizationStatus::Pending {
                    continue;
                }
                let identifier = one.identifier().identifier.clone();
                let offered = one.challenges.iter().map(|c| &c.r#type);
                let kind = self.solvers.choose(&name, &identifier, offered, self.turn);
                let kind = kind.map_err(|said| {
                    AcmeError::new(Step::Challenge(name.as_str().into()), Cause::Solver(said))
                })?;
                let Some(challenge) = one.challenge(kind.of_library()) else {
                    continue;
                };
                if challenge.status == ChallengeStatus::Pending {
                    asks.push(Ask::new(&name, identifier, kind, &challenge));
                }
            }
            return Ok(asks);
        }
    }

    /// Tells the authority of every challenge that is answered.
    async fn ready(&mut self, order: &mut Order) -> Result<(), AcmeError> {
        let mut all = order.authorizations();
        while let Some(Ok(mut one)) = all.next().await {
            let name = one.identifier().to_string();
            let Some(ask) = self.presented.iter().find(|p| *p.name == *name) else {
                continue;
            };
            if one.status != AuthorizationStatus::Pending || self.readied.contains(&ask.url) {
                continue;
            }
            let Some(mut challenge) = one.challenge(ask.kind.of_library()) else {
                continue;
            };
            if challenge.status != ChallengeStatus::Pending {
                continue;
            }
            let told = insist!(challenge.set_ready().await);
            told.map_err(|e| {
                let step = Step::Challenge(name.as_str().into());
                self.session.told(step, e)
            })?;
            self.readied.insert(ask.url.clone());
        }
        Ok(())
    }

    async fn finalize(&mut self, order: &mut Order) -> Result<(), AcmeError> {
        if self.names.is_empty() {
            // The order was ready when it was first seen.
            self.asks(order).await?;
        }
        let request = key::request(self.key, &self.names)
            .map_err(|e| AcmeError::new(Step::Finalize, Cause::Other(e)))?;
        let done = insist!(order.finalize_csr(&request).await);
        done.map_err(|e| self.session.told(Step::Finalize, e))?;
        self.polled = 0;
        Ok(())
    }

    /// Waits for as long as the authority wants, or ever longer, and asks for the order's state.
    async fn poll(&mut self, order: &mut Order) -> Result<(), AcmeError> {
        let own = ACME_POLL_MIN.saturating_mul(1 << self.polled.min(16));
        self.polled += 1;
        let pause = match self.session.http.last().retry_after {
            Some(wanted) if !wanted.is_zero() => wanted,
            _ => own.min(ACME_POLL_MAX),
        };
        let slow = AcmeError::new(self.at.clone(), Cause::Slow(self.session.patience));
        self.wait(pause, slow).await?;
        let done = insist!(order.refresh().await);
        match done {
            Ok(_) => Ok(()),
            Err(error) => Err(self.session.told(self.at.clone(), error)),
        }
    }

    /// Waits, if there is time for it left.
    async fn wait(&self, pause: Duration, or: AcmeError) -> Result<(), AcmeError> {
        if Instant::now() + pause >= self.ends {
            return Err(AcmeError {
                retry_after: Some(pause),
                ..or
            });
        }
        sleep(pause).await;
        Ok(())
    }

    /// Why the order came to nothing, in the authority's words.
    async fn refusal(&mut self, order: &mut Order) -> AcmeError {
        let mut all = Vec::new();
        let own = order.state().error.clone();
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let Ok(one) = next else { continue };
            let name = one.identifier().to_string();
            let errors = one.challenges.iter().filter_map(|c| c.error.clone());
            all.extend(errors.map(|problem| (name.as_str().into(), problem)));
        }
        let cause = match (all.is_empty(), own) {
            (false, _) => Cause::Invalid(all),
            (true, Some(problem)) => Cause::Refused(Box::new(problem)),
            (true, None) => Cause::Refused(Box::new(Problem {
                r#type: None,
                detail: Some("the order has become invalid".to_owned()),
                status: None,
                subproblems: Vec::new(),
            })),
        };
        AcmeError::new(self.at.clone(), cause)
    }
}
