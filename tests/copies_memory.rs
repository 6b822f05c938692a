//! Memory of the copies that fallbacks keep: what the allocator is asked for stays within the limit,
//! whatever the answers look like.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use transom::copies::{Asked, Copies};

/// Counts what is allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// The one place where the tests need it: an allocator can't be written without.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LIMIT: usize = 16 * 1024 * 1024;

fn headers(count: usize, vary: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    for number in 0..count {
        let name = HeaderName::try_from(format!("x-header-{number}")).expect("a name");
        map.insert(name, HeaderValue::from_static("v"));
    }
    if !vary.is_empty() {
        map.insert("vary", HeaderValue::from_str(vary).expect("a value"));
    }
    map
}

#[test]
fn copies_stay_within_their_limit() {
    let many = (0..30).map(|n| format!("x-of-{n}")).collect::<Vec<_>>();
    for (shape, answer, body, count) in [
        ("no headers", headers(0, ""), 0, 60_000),
        ("small", headers(3, ""), 100, 60_000),
        ("many headers", headers(40, ""), 10, 20_000),
        ("many forms", headers(2, &many.join(", ")), 10, 20_000),
        ("large", headers(5, "accept"), 300_000, 500),
    ] {
        let before = LIVE.load(Ordering::Relaxed);
        let copies = Arc::new(Copies::default());
        let (request, body) = (HeaderMap::new(), vec![b'x'; body]);
        let mut most = 0;
        for number in 0..count {
            let path = format!("/v1/things/{number}");
            let asked = Asked::new([path.as_bytes()], false);
            let draft = copies.draft(asked, &request, &answer, LIMIT);
            draft.expect("may be kept").keep(&body);
            let live = LIVE.load(Ordering::Relaxed).saturating_sub(before);
            most = most.max(live);
        }
        let (held, _) = copies.held();

        assert!(copies.lost().0 > 0, "{shape}: too few to fill it");
        assert!(
            most <= LIMIT + LIMIT / 8,
            "{shape}: {most} bytes, {held} by its own account"
        );
        drop(copies);
    }
}
