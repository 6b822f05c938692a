//! The cutter of JSON streams: any split of the bytes gives the same documents, and none is larger
//! than the limit.

use bytes::Bytes;
use transom::limits::ByteLimit;
use transom::protocol::elements::{Arrangement, ElementError, Elements};

type Cut = Result<Vec<Vec<u8>>, (u64, ElementError)>;

fn cut(arrangement: Arrangement, pieces: impl Iterator<Item = Bytes>) -> Cut {
    let mut elements = Elements::new(arrangement, ByteLimit::kib(4));
    let mut found = Vec::new();
    for piece in pieces {
        elements.push(piece);
        loop {
            match elements.next_element() {
                Ok(Some(document)) => found.push(document.to_vec()),
                Ok(None) => break,
                Err(error) => return Err((elements.next_index(), error)),
            }
        }
    }
    match elements.finish() {
        Ok(last) => found.extend(last.map(|d| d.to_vec())),
        Err(error) => return Err((elements.next_index(), error)),
    }
    Ok(found)
}

/// The first byte is the size of the pieces, the rest is the text.
pub fn check(data: &[u8]) {
    let Some((size, text)) = data.split_first() else {
        return;
    };
    for arrangement in [Arrangement::ArrayOrSequence, Arrangement::Sequence] {
        let whole = cut(arrangement, std::iter::once(Bytes::copy_from_slice(text)));
        let size = usize::from(*size).max(1);
        let pieces = text.chunks(size).map(Bytes::copy_from_slice);
        assert_eq!(cut(arrangement, pieces), whole);
        let documents = whole.unwrap_or_default();
        assert!(
            documents
                .iter()
                .all(|d| !d.is_empty() && d.len() <= 4 * 1024)
        );
    }
}
