//! One connection to one endpoint.

use std::cell::Cell;
use std::rc::Rc;

/// One request's place on a connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    in_flight: Rc<Cell<usize>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }
}
