//! What files were when they were read last, so that nothing that is written later is missed.

use crate::config::Loaded;
use crate::config::diagnostic::Report;
use crate::config::model::Config;

use super::Origin;
use super::inputs::{Inputs, Stamp};

/// What the inputs were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    looks: Stamp,
    holds: Stamp,
}

impl Seen {
    /// What they are now: to be taken before they are read, so that nothing written later is missed.
    #[must_use]
    pub fn of(origin: &Origin, config: &Config) -> Self {
        Self::now(&origin.inputs(config))
    }

    fn now(inputs: &Inputs) -> Self {
        // In this order: what changes between looks different the next time.
        Self {
            looks: inputs.look(),
            holds: inputs.read(),
        }
    }

    /// What they are now. They are read only if they look different.
    pub(super) fn again(self, inputs: &Inputs) -> Self {
        match self.looks == inputs.look() {
            true => self,
            false => Self::now(inputs),
        }
    }

    pub(super) fn differs(self, before: Self) -> bool {
        self.holds != before.holds
    }
}

/// Times that a config is read because it names other files than it did a moment ago.
const READINGS_MAX: usize = 3;

/// Other files than before, with what they were before they were read.
pub(super) struct Others {
    /// Those of the new config.
    pub(super) named: (Inputs, Seen),
    /// With those of the old one: to be looked at for as long as the new one can't be taken up, since
    /// either may be what is mended.
    pub(super) all: (Inputs, Seen),
}

/// Reads the config. When it names other files than `inputs`, what they were is taken first and the
/// config read again: what is read of them after this is that, or a change of it.
pub(super) fn load(
    load: &(dyn Fn() -> Result<Loaded, Report> + Send + Sync),
    origin: &Origin,
    inputs: &Inputs,
) -> Result<(Loaded, Option<Others>), Report> {
    let mut loaded = load()?;
    let mut others: Option<Others> = None;
    for _ in 0..READINGS_MAX {
        let named = origin.inputs(&loaded.config);
        let known = others.as_ref().map_or(inputs, |others| &others.named.0);
        if named == *known {
            break;
        }
        let all = inputs.and(&named);
        let (of_all, of_named) = (Seen::now(&all), Seen::now(&named));
        others = Some(Others {
            named: (named, of_named),
            all: (all, of_all),
        });
        loaded = load()?;
    }
    Ok((loaded, others))
}
