//! The faults, and what is expected of each: unary, server stream, client stream.

use h2::Reason;

use crate::bench::Place::{self, Sound};
use crate::bench::Seen::{self, Ended, Fine, Refused};
use crate::bench::{Row, Time};
use crate::deeds::{self, GRPC, HALF, Left};
use crate::support::grpc::framed;
use crate::support::upstream::Call;
use crate::support::way::Way;

type Deeds = &'static [fn(Call, &Way) -> Left];

pub const NONE: Deeds = &[];

/// A call that ends by itself, sent once.
pub fn row(name: &'static str, deeds: Deeds, seen: [Seen; 3]) -> Row {
    Row {
        name,
        place: Sound,
        deeds,
        seen,
        sent: Some([1; 3]),
        time: Time::Ample,
        then: None,
    }
}

/// A call that ends by its deadline.
pub fn late(name: &'static str, deeds: Deeds) -> Row {
    Row {
        time: Time::Late,
        ..row(name, deeds, [Refused(504, 4); 3])
    }
}

/// Something else stands where the service did.
pub fn at(place: Place, name: &'static str, seen: Seen) -> Row {
    Row {
        place,
        sent: None,
        ..row(name, NONE, [seen; 3])
    }
}

impl Row {
    pub fn sent(self, sent: [usize; 3]) -> Self {
        Self {
            sent: Some(sent),
            ..self
        }
    }

    /// Done once all calls have arrived.
    fn then(self, then: fn(&Way)) -> Self {
        Self {
            then: Some(then),
            ..self
        }
    }

    pub fn within(self, time: Time) -> Self {
        Self { time, ..self }
    }

    pub fn seen(self, seen: [Seen; 3]) -> Self {
        Self { seen, ..self }
    }
}

pub fn rows() -> Vec<Row> {
    let mut all = unreachable_ones();
    all.extend(broken_off());
    all.extend(crate::wire_table::rows());
    all.extend(endings());
    all.extend(contents());
    all.extend(too_slow());
    all
}

fn unreachable_ones() -> Vec<Row> {
    let down = Refused(503, 14);
    vec![
        at(Place::Refusing, "refused", down),
        at(
            Place::Deaf,
            "nobody takes the SYN, until the deadline",
            Refused(504, 4),
        )
        .within(Time::Late),
        at(
            Place::Deaf,
            "nobody takes the SYN, for the time of connecting",
            down,
        )
        .within(Time::SlowConnect),
        at(
            Place::Silent,
            "no SETTINGS, until the deadline",
            Refused(504, 4),
        )
        .within(Time::Late),
        at(
            Place::Silent,
            "no SETTINGS, for the time of connecting",
            down,
        )
        .within(Time::SlowConnect),
        at(Place::Tls, "TLS where none is expected", down),
        at(Place::NoTls, "no TLS where it is expected", down),
        at(Place::Expired, "a certificate of yesterday", down),
        at(Place::OtherName, "a certificate of another name", down),
        at(Place::OtherAuthority, "a certificate of strangers", down),
        at(Place::WantsOurs, "a certificate of ours is wanted", down),
        at(Place::TlsForHttp1, "TLS for HTTP/1.1 alone", down),
        at(
            Place::SilentTls,
            "no word of TLS, until the deadline",
            Refused(504, 4),
        )
        .within(Time::Late),
        at(
            Place::SilentTls,
            "no word of TLS, for the time of connecting",
            down,
        )
        .within(Time::SlowConnect),
    ]
}

fn broken_off() -> Vec<Row> {
    let broken = [Refused(502, 13); 3];
    vec![
        row(
            "reset before the head",
            &[|c, _| deeds::reset(c, Reason::INTERNAL_ERROR)],
            broken,
        ),
        row(
            "reset before the head, as cancelled",
            &[|c, _| deeds::reset(c, Reason::CANCEL)],
            [Refused(502, 1); 3],
        )
        .sent([2, 2, 1]),
        row(
            "reset before the head, as too much",
            &[|c, _| deeds::reset(c, Reason::ENHANCE_YOUR_CALM)],
            [Refused(429, 8); 3],
        ),
        row(
            "refused once",
            &[
                |c, _| deeds::reset(c, Reason::REFUSED_STREAM),
                |c, _| deeds::fine(c),
            ],
            [Fine; 3],
        )
        .sent([2; 3]),
        row(
            "refused always",
            &[|c, _| deeds::reset(c, Reason::REFUSED_STREAM)],
            [Refused(503, 14); 3],
        )
        .sent([3; 3]),
        row(
            "GOAWAY, and the answer",
            &[|c, _| deeds::goodbye(c)],
            [Fine; 3],
        ),
        row(
            "cut before the head",
            &[|c, w| {
                w.close();
                drop(c);
                Left::Unheard
            }],
            [Refused(503, 14); 3],
        ),
        row(
            "a TCP reset before the head",
            &[|c, w| {
                w.reset();
                drop(c);
                Left::Unheard
            }],
            [Refused(503, 14); 3],
        ),
        row(
            "cut inside a message",
            &[|c, w| deeds::cut(c, w, 30_000)],
            [Refused(503, 14); 3],
        ),
    ]
}

fn endings() -> Vec<Row> {
    let unknown = [Refused(502, 2); 3];
    vec![
        row("no trailers", &[|c, _| deeds::no_trailers(c, &[])], unknown),
        row(
            "a message and no trailers",
            &[|c, _| deeds::no_trailers(c, &[0; 5])],
            [Refused(502, 2), Ended(2), Refused(502, 2)],
        ),
        row(
            "trailers only, an error",
            &[|c, _| deeds::head(c, 200, &[GRPC, ("grpc-status", "5")])],
            [Refused(404, 5); 3],
        ),
        row(
            "trailers only, OK",
            &[|c, _| deeds::head(c, 200, &[GRPC, ("grpc-status", "0")])],
            [Refused(502, 13), Fine, Refused(502, 13)],
        ),
        row(
            "UNAVAILABLE once",
            &[
                |c, _| deeds::head(c, 200, &[GRPC, ("grpc-status", "14")]),
                |c, _| deeds::fine(c),
            ],
            [Fine, Fine, Refused(503, 14)],
        )
        .sent([2, 2, 1]),
        row(
            "UNAVAILABLE always",
            &[|c, _| deeds::head(c, 200, &[GRPC, ("grpc-status", "14")])],
            [Refused(503, 14); 3],
        )
        .sent([2, 2, 1]),
        row(
            "a status that is no number",
            &[|c, _| deeds::head(c, 200, &[GRPC, ("grpc-status", "fine")])],
            unknown,
        ),
        row(
            "an empty status",
            &[|c, _| deeds::head(c, 200, &[GRPC, ("grpc-status", "")])],
            unknown,
        ),
        row(
            "a status that nobody knows",
            &[|c, _| deeds::head(c, 200, &[GRPC, ("grpc-status", "99")])],
            [Refused(500, 2); 3],
        ),
        row(
            "a message in broken percent signs",
            &[|c, _| {
                let garbage = ("grpc-message", "%zz%ff%f0%9f%");
                deeds::head(c, 200, &[GRPC, ("grpc-status", "5"), garbage])
            }],
            [Refused(404, 5); 3],
        ),
        row(
            "details that are none",
            &[|c, _| {
                let garbage = ("grpc-status-details-bin", "!!!!");
                deeds::head(c, 200, &[GRPC, ("grpc-status", "5"), garbage])
            }],
            [Refused(404, 5); 3],
        ),
        row(
            "an error after a message",
            &[|c, _| deeds::whole(c, vec![0; 5], "5")],
            [Refused(404, 5), Ended(5), Refused(404, 5)],
        ),
        row(
            "two messages",
            &[|c, _| deeds::whole(c, vec![0; 10], "0")],
            [Refused(502, 13), Fine, Refused(502, 13)],
        ),
        row(
            "OK without a message",
            &[|c, _| deeds::whole(c, vec![], "0")],
            [Refused(502, 13), Fine, Refused(502, 13)],
        ),
        row(
            "long trailers",
            &[|c, _| deeds::long_trailers(c, 3)],
            [Refused(502, 13), Ended(13), Refused(502, 13)],
        ),
        row(
            "trailers past all bounds",
            &[|c, _| deeds::long_trailers(c, 10)],
            [Refused(502, 13), Ended(13), Refused(502, 13)],
        ),
        row(
            "a long head",
            &[|c, _| deeds::long_head(c)],
            [Refused(502, 13); 3],
        ),
    ]
}

fn contents() -> Vec<Row> {
    let broken = [Refused(502, 13); 3];
    let unreadable = [Refused(502, 14); 3];
    vec![
        row(
            "a page and 503",
            &[|c, _| deeds::page(c, 503, "text/html")],
            [Refused(503, 14); 3],
        ),
        row(
            "a page and 200",
            &[|c, _| deeds::page(c, 200, "text/plain")],
            unreadable,
        ),
        row(
            "a page and 401",
            &[|c, _| deeds::page(c, 401, "text/html")],
            [Refused(401, 16); 3],
        ),
        row(
            "a page and 404",
            &[|c, _| deeds::page(c, 404, "text/plain")],
            [Refused(502, 12); 3],
        ),
        row(
            "a page and 302",
            &[|c, _| deeds::page(c, 302, "text/html")],
            [Refused(502, 2); 3],
        ),
        row(
            "no content type",
            &[|c, _| deeds::head(c, 200, &[("grpc-status", "0")])],
            unreadable,
        ),
        row(
            "a message longer than the answer",
            &[|c, _| deeds::whole(c, HALF, "0")],
            unreadable,
        ),
        row(
            "half a prefix",
            &[|c, _| deeds::whole(c, vec![0; 3], "0")],
            unreadable,
        ),
        row(
            "a message of 4 GiB",
            &[|c, _| deeds::begun(c, &[0, 255, 255, 255, 255, 1][..])],
            [Refused(502, 8); 3],
        ),
        row(
            "compressed, in no coding",
            &[|c, _| deeds::begun(c, &[1, 0, 0, 0, 1, 0][..])],
            unreadable,
        ),
        row(
            "compressed, in an unknown coding",
            &[|c, _| deeds::coded(c, "snappy", &[1, 0, 0, 0, 1, 0])],
            unreadable,
        ),
        row(
            "compressed, and it isn't",
            &[|c, _| deeds::coded(c, "gzip", &[1, 0, 0, 0, 1, 0])],
            unreadable,
        ),
        row(
            "unknown flags",
            &[|c, _| deeds::begun(c, &[128, 0, 0, 0, 1, 0][..])],
            unreadable,
        ),
        row(
            "100 000 empty messages",
            &[|c, _| deeds::whole(c, vec![0; 500_000], "0")],
            [Refused(502, 13), Fine, Refused(502, 13)],
        ),
        row(
            "a field that is cut off",
            &[|c, _| deeds::whole(c, framed(&[0x0a, 0xff]), "0")],
            broken,
        ),
        row(
            "a field of another type",
            // Field 1 as four bytes: proto3 takes it for one that it doesn't know.
            &[|c, _| deeds::whole(c, framed(&[0x0d, 1, 2, 3, 4]), "0")],
            [Fine; 3],
        ),
        row(
            "fields that nobody knows",
            &[|c, _| deeds::whole(c, framed(&[0xfa, 0x3f, 2, 8, 1]), "0")],
            [Fine; 3],
        ),
        row(
            "a value of an enum that nobody knows",
            &[|c, _| deeds::whole(c, framed(&[0x28, 99]), "0")],
            [Fine; 3],
        ),
        row(
            "texts that are none",
            // Fields 2 and 3: a name and a title, a player, and two numbers.
            &[|c, _| deeds::whole(c, framed(&[0x12, 1, 0xff, 0x1a, 1, 0xff]), "0")],
            [Refused(502, 13), Refused(502, 13), Fine],
        ),
        row(
            "times that JSON can't say",
            // 10¹⁴ seconds as fields 5 and 9.
            &[|c, _| {
                let long = [8, 0x80, 0x80, 0xe9, 0x83, 0xb1, 0xde, 0x16];
                let field = |number: u8| [&[number << 3 | 2, 8][..], &long].concat();
                let message = [field(9), field(5)].concat();
                deeds::whole(c, framed(&message), "0")
            }],
            broken,
        ),
        row(
            "a field number of zero",
            &[|c, _| deeds::whole(c, framed(&[0, 1]), "0")],
            broken,
        ),
    ]
}

fn too_slow() -> Vec<Row> {
    vec![
        late("silence", &[|c, _| Left::Silent(c)]),
        late("a head and silence", &[|c, _| deeds::begun(c, &[][..])]),
        late(
            "half a message and silence",
            &[|c, _| deeds::begun(c, HALF)],
        ),
        late(
            "a message and silence",
            &[|c, _| deeds::begun(c, &[0; 5][..])],
        )
        .seen([Refused(504, 4), Ended(4), Refused(504, 4)]),
        late("byte after byte", &[|c, _| deeds::dripping(c)]),
        Row {
            place: Place::Server(|| {
                let mut builder = h2::server::Builder::new();
                builder.initial_window_size(0);
                builder
            }),
            ..late("a window that stays shut", &[|c, _| Left::Silent(c)])
        },
        Row {
            place: Place::Server(|| {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(0);
                builder
            }),
            ..late("no calls allowed", NONE).sent([0; 3])
        },
        late("the way holds everything", &[|c, _| Left::Silent(c)]).then(Way::hold),
        late(
            "the connection is lost without a word",
            &[|c, _| Left::Mute(c)],
        )
        .then(Way::lose),
        late("the way swallows everything", &[|c, _| Left::Mute(c)]).then(Way::swallow),
    ]
}
