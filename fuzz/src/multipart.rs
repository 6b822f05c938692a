//! The cutter of forms: any split of the bytes gives the same parts, and no piece is empty.

use transom::protocol::multipart::{Event, Multipart, MultipartError, PartHead};

type Parts = Vec<(PartHead, Vec<u8>)>;

fn cut<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Result<Parts, MultipartError> {
    let mut multipart = Multipart::new("b");
    let mut parts = Parts::new();
    for piece in pieces {
        multipart.push(piece);
        while let Some(event) = multipart.next_event()? {
            match event {
                Event::Part(head) => parts.push((head, Vec::new())),
                Event::Data(data) => {
                    assert!(!data.is_empty());
                    parts
                        .last_mut()
                        .expect("a part has begun")
                        .1
                        .extend_from_slice(&data);
                }
                Event::PartEnd => assert!(!parts.is_empty()),
            }
        }
    }
    multipart.finish().map(|()| parts)
}

/// The first byte is the size of the pieces, the rest is the form.
pub fn check(data: &[u8]) {
    let Some((size, form)) = data.split_first() else {
        return;
    };
    let whole = cut(std::iter::once(form));
    assert_eq!(cut(form.chunks(usize::from(*size).max(1))), whole);
    let length: usize = whole.iter().flatten().map(|(_, data)| data.len()).sum();
    assert!(length <= form.len());
}
