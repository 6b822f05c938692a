//! JSON to the wire: any text is encoded or refused, the same in slices as at once; what is encoded
//! prints, and what prints reads back to the same.
//!
//! Input: a byte of switches, then the document.

use transom::codec::{Encoder, Progress};

use super::wide;

pub fn check(data: &[u8]) {
    let Some((&switches, json)) = data.split_first() else {
        return;
    };
    let (codec, target) = wide::pick(switches);
    let mut wire = Vec::new();
    let whole = codec.encode(target, json, wide::LIMITS, &mut wire);

    let mut job = Encoder::new(codec, target, wide::LIMITS, Vec::new()).expect("a known target");
    let budget = usize::from(switches >> 3) + 1;
    let sliced = loop {
        match job.step(codec, json, budget) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => break Ok(job.finish()),
            Err(error) => break Err(error),
        }
    };
    match (whole, sliced) {
        (Ok(()), Ok(sliced)) => assert_eq!(sliced, wire),
        (Err(whole), Err(sliced)) => {
            assert_eq!(whole, sliced);
            return;
        }
        (whole, sliced) => panic!("{whole:?} at once, {sliced:?} in slices"),
    }
    wide::round_trip(codec, target, &wire);
}
