//! How an authority of the tests behaves.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

/// A place of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    Directory,
    Nonce,
    Account,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
    RenewalInfo,
    Revoke,
}

/// Everything that takes part in an order, in its course.
pub const COURSE: [At; 9] = [
    At::Directory,
    At::Nonce,
    At::Account,
    At::NewOrder,
    At::Order,
    At::Authorization,
    At::Challenge,
    At::Finalize,
    At::Certificate,
];

/// What goes wrong there.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends; nothing was done.
    Cut,
    /// It was done, and then the connection ends.
    CutAfter,
    /// A page that is no problem document, with a `Retry-After`.
    Page(u16, Option<&'static str>),
    /// A problem document of this kind, with a `Retry-After`.
    Problem(u16, &'static str, Option<&'static str>),
    /// No answer ever.
    Silence,
}

/// What is wrong with the certificates that it issues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    #[default]
    None,
    /// They are for another key.
    OtherKey,
    /// The text breaks off.
    Truncated,
    /// They are for other names.
    OtherNames,
}

/// How it behaves. Tests change it at any time.
pub struct Manners {
    /// How often something goes wrong at a place.
    pub faults: HashMap<At, (u32, Fault)>,
    /// How many more nonces are refused.
    pub refused_nonces: u32,
    pub profiles: BTreeMap<String, String>,
    /// The window of every certificate, from its not-before and not-after. `None`: no ARI at all.
    pub window: Option<fn(SystemTime, SystemTime) -> (SystemTime, SystemTime)>,
    pub explanation: Option<&'static str>,
    pub window_retry_after: Option<&'static str>,
    /// How often an order is asked for until it is done, and what it says to that.
    pub processing: (u32, Option<&'static str>),
    pub lie: Lie,
    pub validity: Duration,
    /// Names that aren't ours.
    pub unproved: HashSet<String>,
    pub external_required: bool,
    /// What its answers are dated with. `None`: the time.
    pub date: Option<SystemTime>,
}

impl Default for Manners {
    /// As Let's Encrypt's, on a good day.
    fn default() -> Self {
        Self {
            faults: HashMap::new(),
            refused_nonces: 0,
            profiles: BTreeMap::new(),
            window: Some(|from, to| {
                let life = to.duration_since(from).expect("it has a life");
                (from + life * 2 / 3, from + life * 3 / 4)
            }),
            explanation: None,
            window_retry_after: Some("21600"),
            processing: (0, None),
            lie: Lie::None,
            validity: Duration::from_secs(90 * 86400),
            unproved: HashSet::new(),
            external_required: false,
            date: None,
        }
    }
}
