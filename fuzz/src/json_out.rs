//! The wire to JSON: any bytes print or are refused before the first byte of JSON, the same in slices
//! as at once; what prints reads back to the same.
//!
//! Input: a byte of switches, then the message.

use transom::codec::{Printer, Progress};

use super::wide;

pub fn check(data: &[u8]) {
    let Some((&switches, wire)) = data.split_first() else {
        return;
    };
    let (codec, target) = wide::pick(switches);
    let mut json = Vec::new();
    let whole = codec.print(target, wire, wide::LIMITS, &mut json);

    let mut job = Printer::new(codec, target, wire, wide::LIMITS).expect("a known target");
    let budget = usize::from(switches >> 3) + 1;
    let mut sliced = Vec::new();
    let result = loop {
        match job.step(codec, wire, budget, &mut sliced) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(result, whole);
    assert_eq!(sliced, json);
    if whole.is_err() {
        assert!(json.is_empty(), "half a document before an error");
        return;
    }
    wide::round_trip(codec, target, wire);

    // A message that prints is one that can be written again, and then means the same.
    let transom::codec::Target::Message(id) = target else {
        return;
    };
    let normal = codec.normalise(id, wire, wide::LIMITS).expect("good wire");
    let mut again = Vec::new();
    codec
        .print(target, &normal, wide::LIMITS, &mut again)
        .expect("normal wire prints");
    assert_eq!(
        String::from_utf8_lossy(&again),
        String::from_utf8_lossy(&json)
    );
}
