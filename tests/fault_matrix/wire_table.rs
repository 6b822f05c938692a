//! Faults of HTTP/2 itself, and of servers that break off at a frame.

use crate::bench::Place::{self, Script};
use crate::bench::Seen::{self, Ended, Fine, Refused};
use crate::bench::{Row, Time};
use crate::table::at;
use crate::wire;

pub fn rows() -> Vec<Row> {
    let mut all = broken_off();
    all.extend(against_the_rules());
    all.extend(strange_heads());
    all.extend(without_an_end());
    all
}

fn broken_off() -> Vec<Row> {
    let (down, broken) = (Refused(503, 14), Refused(502, 13));
    // Reading calls are tried again; one that the service may have carried out never is.
    let again = [2, 2, 1];
    vec![
        at(Script(wire::http1), "HTTP/1.1 alone", down).sent([0; 3]),
        at(Script(wire::closes), "closed at once", down).sent([0; 3]),
        at(
            Script(wire::resets_after_the_head),
            "reset after the head",
            broken,
        )
        .sent([1; 3]),
        at(
            Script(wire::resets_inside_a_message),
            "reset inside a message",
            broken,
        )
        .sent([1; 3]),
        at(
            Script(wire::resets_after_a_message),
            "reset after a message",
            broken,
        )
        .seen([broken, Ended(13), broken])
        .sent([1; 3]),
        at(
            Script(wire::resets_when_done),
            "reset after the answer, without an error",
            Fine,
        )
        .sent([1; 3]),
        at(
            Script(wire::goes_away_after),
            "GOAWAY that names the call",
            Fine,
        )
        .sent([1; 3]),
        at(
            Script(wire::goes_away_before),
            "GOAWAY from before the call",
            Fine,
        )
        .sent([2; 3]),
        at(
            Script(wire::always_goes_away),
            "GOAWAY from before the call, always",
            down,
        )
        .sent([3; 3]),
        at(
            Script(wire::greets_with_goaway),
            "GOAWAY for a greeting",
            down,
        )
        .sent([0; 3]),
        at(
            Script(wire::goes_away_with_an_error),
            "GOAWAY with an error, and closed",
            down,
        )
        .sent(again),
        at(
            Script(wire::closes_after_the_request),
            "closed after the request",
            down,
        )
        .sent(again),
        at(
            Script(wire::breaks_inside_a_message),
            "a TCP reset inside a message",
            down,
        ),
    ]
}

/// What makes a connection useless.
fn against_the_rules() -> Vec<Row> {
    let down = Refused(503, 14);
    let rows: [(Place, &'static str); 8] = [
        (Script(wire::data_before_a_head), "data before a head"),
        (Script(wire::broken_compression), "broken HPACK"),
        (Script(wire::head_in_capitals), "a head in capitals"),
        (
            Script(wire::head_with_a_line_within),
            "a line within a value",
        ),
        (Script(wire::pushes), "an answer that nobody asked for"),
        (Script(wire::another_ones_stream), "an answer to no call"),
        (Script(wire::too_wide_a_window), "a window past all bounds"),
        (Script(wire::too_long_a_frame), "a frame past all bounds"),
    ];
    rows.map(|(place, name)| at(place, name, down).sent([2, 2, 1]))
        .into()
}

/// What spoils one answer.
fn strange_heads() -> Vec<Row> {
    let broken = Refused(502, 13);
    let rows: [(Place, &'static str, [Seen; 3]); 5] = [
        (
            Script(wire::hints_before_the_head),
            "heads that announce another",
            [Fine; 3],
        ),
        (
            Script(wire::head_without_a_status),
            "a head without a status",
            [broken; 3],
        ),
        (
            Script(wire::head_of_http1),
            "a head with a connection's field",
            [broken; 3],
        ),
        (
            Script(wire::length_that_is_too_short),
            "more than the length says",
            [broken; 3],
        ),
        (
            Script(wire::length_that_is_too_long),
            "less than the length says",
            [broken, Ended(13), broken],
        ),
    ];
    rows.map(|(place, name, seen)| at(place, name, Fine).seen(seen).sent([1; 3]))
        .into()
}

fn without_an_end() -> Vec<Row> {
    let (down, late) = (Refused(503, 14), Refused(504, 4));
    vec![
        at(
            Script(wire::head_without_an_end),
            "a head without an end",
            down,
        ),
        at(
            Script(wire::trailers_without_an_end),
            "trailers without an end",
            down,
        )
        .seen([down, Ended(14), down]),
        at(
            Script(wire::empty_data_without_an_end),
            "empty data without an end",
            down,
        ),
        at(
            Script(wire::hints_without_an_end),
            "heads that announce another without an end",
            late,
        )
        .within(Time::Late),
        at(
            Script(wire::pings_without_an_end),
            "PINGs without an end",
            late,
        )
        .within(Time::Late),
        at(Script(wire::dripping_head), "a head byte after byte", late).within(Time::Late),
    ]
}
