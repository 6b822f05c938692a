//! Pages of a list. A token says where the next page begins and which filters it belongs to.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;

use super::errors::Refusal;
use super::pb::{ListGamesRequest, Page};

const PAGE_SIZE: usize = 10;
const PAGE_SIZE_MAX: i32 = 100;

/// A checked [`Page`].
#[derive(Debug)]
pub(super) struct Cut {
    /// Number of the last game of the page before.
    pub(super) after: i64,
    pub(super) size: usize,
    filters: u64,
}

impl Cut {
    pub(super) fn of(request: &ListGamesRequest) -> Result<Self, Status> {
        let default = Page::default();
        let page = request.page.as_ref().unwrap_or(&default);
        let size = match page.size {
            0 => PAGE_SIZE,
            size @ 1..=PAGE_SIZE_MAX => usize::try_from(size).unwrap_or(PAGE_SIZE),
            size => {
                let wrong = format!("{size} is not between 1 and {PAGE_SIZE_MAX}");
                return Err(Refusal::field("page.size", wrong));
            }
        };
        let filters = fingerprint(request);
        let after = match page.token.as_str() {
            "" => 0,
            token => read(token, filters).ok_or_else(|| {
                Refusal::field("page.token", "not a token of a list with these filters")
            })?,
        };
        Ok(Self {
            after,
            size,
            filters,
        })
    }

    /// The token of the page after the game `last`.
    pub(super) fn token(&self, last: i64) -> String {
        let mut bytes = last.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.filters.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

fn read(token: &str, filters: u64) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (after, rest) = bytes.split_first_chunk::<8>()?;
    let theirs = <[u8; 8]>::try_from(rest).ok()?;
    (u64::from_be_bytes(theirs) == filters).then_some(i64::from_be_bytes(*after))
}

fn fingerprint(request: &ListGamesRequest) -> u64 {
    let mut hash = DefaultHasher::new();
    request.tags.hash(&mut hash);
    request.genre.hash(&mut hash);
    request.min_rating.to_bits().hash(&mut hash);
    let after = request.released_after.as_ref();
    after.map(|t| (t.seconds, t.nanos)).hash(&mut hash);
    request.studio.hash(&mut hash);
    request.state.hash(&mut hash);
    hash.finish()
}
