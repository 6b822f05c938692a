use super::*;

const DAY: Duration = Duration::from_secs(86400);

fn at(days: f64) -> SystemTime {
    time(1_800_000_000) - DAY * 10 + DAY.mul_f64(days + 10.0)
}

fn life(days: f64, has_window: bool) -> Life {
    Life {
        not_before: at(0.0),
        not_after: at(days),
        has_window,
    }
}

fn middle() -> Course {
    Course {
        draw: 0.5,
        ..Course::default()
    }
}

const ORDER: Action = Action::Order {
    authority: 0,
    trial: false,
};

fn failure(authorities: usize) -> Failure<'static> {
    Failure {
        said: "no",
        retry_after: None,
        heard: true,
        may_try: false,
        authorities,
        chance: 0.5,
    }
}

#[test]
fn a_missing_certificate_is_ordered_at_once() {
    assert_eq!(next(None, &middle(), 1, at(0.0)), ORDER);
}

#[test]
fn without_a_window_a_third_of_the_life_is_left_or_half_of_a_short_one() {
    for (days, due) in [(90.0, 60.0), (45.0, 30.0), (6.0, 3.0)] {
        let life = life(days, false);
        assert_eq!(renew_at(&life, &middle()), at(due));
        let wait = next(Some(&life), &middle(), 1, at(0.0));
        assert_eq!(wait, Action::Wait(at(due)));
        assert_eq!(next(Some(&life), &middle(), 1, at(due)), ORDER);
        for (draw, spread) in [(0.0, -0.02), (1.0, 0.02)] {
            let course = Course {
                draw,
                ..Course::default()
            };
            let apart = renew_at(&life, &course);
            let wanted = at(due + days * spread);
            let apart = apart
                .duration_since(wanted)
                .unwrap_or_else(|e| e.duration());
            assert!(apart < Duration::from_millis(1), "{apart:?}");
        }
    }
}

#[test]
fn a_window_is_asked_for_and_a_moment_in_it_kept() {
    let life = life(90.0, true);
    let mut course = middle();
    assert_eq!(next(Some(&life), &course, 1, at(0.0)), Action::AskWindow);
    assert!(!course.told(at(50.0), at(52.0), at(0.25), 0.25));
    let wait = next(Some(&life), &course, 1, at(0.0));
    assert_eq!(wait, Action::Wait(at(0.25)));
    assert_eq!(renew_at(&life, &course), at(50.5));
    // Told again, the moment stays; a moved window has a new one.
    assert!(!course.told(at(50.0), at(52.0), at(0.5), 0.9));
    assert_eq!(renew_at(&life, &course), at(50.5));
    assert!(course.told(at(1.0), at(2.0), at(0.75), 0.5));
    assert_eq!(renew_at(&life, &course), at(1.5));
    assert_eq!(next(Some(&life), &course, 1, at(1.5)), ORDER);
    // All in the past: now.
    course.told(at(-2.0), at(-1.0), at(9.0), 0.5);
    assert_eq!(next(Some(&life), &course, 1, at(0.1)), ORDER);
}

#[test]
fn a_window_past_the_end_of_the_certificate_is_none_and_none_waits_for_its_last_days() {
    let life = life(90.0, true);
    let mut course = middle();
    course.told(at(89.0), at(91.0), at(9.0), 0.0);
    assert_eq!(renew_at(&life, &course), at(60.0));
    course.told(at(88.0), at(89.9), at(9.0), 1.0);
    assert_eq!(renew_at(&life, &course), at(85.5));
}

#[test]
fn an_authority_whose_windows_are_all_past_is_not_asked_for_ever() {
    let mut course = middle();
    for (days, rest) in [(90.0, 3600.0 / 86400.0), (0.1, 0.01)] {
        let life = life(days, true);
        course.renewed(at(0.0), 0.5);
        course.told(at(-2.0), at(-1.0), at(0.001), 0.5);
        assert_eq!(renew_at(&life, &course), at(rest));
    }
}

#[test]
fn failures_wait_longer_and_longer_but_not_for_the_rest_of_the_life() {
    let mut course = middle();
    let waits = [60, 600, 6000, 86400, 86400];
    for (n, wait) in (1..).zip(waits) {
        course.failed(&failure(1), None, at(0.0));
        assert_eq!(course.failures, n);
        assert_eq!(course.not_before, Some(seconds(at(0.0)) + wait));
        let until = at(0.0) + Duration::from_secs(wait);
        assert_eq!(next(None, &course, 1, at(0.0)), Action::Wait(until));
        assert_eq!(next(None, &course, 1, until), ORDER);
    }
    let left = life(1.0, false);
    course.failed(&failure(1), Some(&left), at(0.0));
    assert_eq!(course.not_before, Some(seconds(at(0.125))));
    // Long gone: still not at once.
    course.failed(&failure(1), Some(&left), at(3.0));
    assert!(course.not_before >= Some(seconds(at(3.0)) + 60));
}

#[test]
fn what_the_authority_wants_is_obeyed() {
    let mut course = middle();
    let wanted = Failure {
        retry_after: Some(DAY * 2),
        ..failure(1)
    };
    course.failed(&wanted, Some(&life(1.0, false)), at(0.0));
    assert_eq!(course.not_before, Some(seconds(at(2.0))));
}

#[test]
fn failures_turn_to_the_next_authority_and_wait_when_all_have_failed() {
    let mut course = middle();
    let mut turns = Vec::new();
    let mut waits = Vec::new();
    for _ in 0..6 {
        let Action::Order { authority, .. } = next(None, &course, 3, at(9.0)) else {
            panic!("it waits");
        };
        turns.push(authority);
        course.failed(&failure(3), None, at(0.0));
        waits.push(course.not_before.unwrap() - seconds(at(0.0)));
    }
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    assert_eq!(waits, [0, 0, 60, 0, 0, 600]);
}

#[test]
fn a_refused_name_is_tried_elsewhere_until_it_passes() {
    let mut course = middle();
    let refused = Failure {
        may_try: true,
        ..failure(1)
    };
    course.failed(&refused, None, at(0.0));
    let trial = Action::Order {
        authority: 0,
        trial: true,
    };
    assert_eq!(next(None, &course, 1, at(1.0)), trial);
    course.passed();
    assert_eq!(next(None, &course, 1, at(0.0)), ORDER);
    course.renewed(at(0.0), 0.5);
    let fresh = Course {
        since: Some(seconds(at(0.0))),
        ..middle()
    };
    assert_eq!(course, fresh);
}

#[test]
fn waits_that_no_certificate_would_outlive_are_cut() {
    for wanted in [DAY * 4000, Duration::MAX] {
        let mut course = middle();
        let forever = Failure {
            retry_after: Some(wanted),
            ..failure(1)
        };
        course.failed(&forever, Some(&life(90.0, true)), at(0.0));
        assert_eq!(course.not_before, Some(seconds(at(7.0))));
    }
}

#[test]
fn what_was_kept_by_a_clock_far_ahead_holds_nothing_up() {
    let life = life(90.0, true);
    let mut course = middle();
    course.renewed(at(4000.0), 0.5);
    course.told(at(3999.0), at(3999.5), at(4000.2), 0.5);
    course.failed(&failure(1), None, at(4000.0));
    // The clock is right again.
    assert_eq!(next(None, &course, 1, at(0.0)), ORDER);
    assert_eq!(next(Some(&life), &course, 1, at(1.0)), Action::AskWindow);
    assert_eq!(next(Some(&life), &course, 1, at(60.0)), ORDER);
    // Set back by a little, it keeps the wait.
    let until = at(4000.0) + Duration::from_secs(60);
    assert_eq!(next(None, &course, 1, at(3999.9)), Action::Wait(until));
}

#[test]
fn certificates_that_begin_long_before_they_come_are_not_ordered_without_end() {
    let mut course = middle();
    let life = life(90.0, false);
    course.renewed(at(80.0), 0.5);
    let hour = Duration::from_secs(3600);
    let wait = next(Some(&life), &course, 1, at(80.0));
    assert_eq!(wait, Action::Wait(at(80.0) + hour));
    assert_eq!(next(Some(&life), &course, 1, at(80.0) + hour), ORDER);
    // Little is left: there is time for another try.
    course.renewed(at(90.0) - hour, 0.5);
    let wait = next(Some(&life), &course, 1, at(90.0) - hour);
    assert_eq!(wait, Action::Wait(at(90.0) - hour / 2));
    // Nothing is left.
    course.renewed(at(91.0), 0.5);
    assert_eq!(next(Some(&life), &course, 1, at(91.0)), ORDER);
}

#[test]
fn an_authority_that_is_not_reached_is_tried_again_soon() {
    let unheard = Failure {
        heard: false,
        ..failure(1)
    };
    let mut course = middle();
    for minutes in [1, 10, 10, 10, 10] {
        course.failed(&unheard, None, at(0.0));
        let until = at(0.0) + Duration::from_secs(minutes * 60);
        assert_eq!(next(None, &course, 1, at(0.0)), Action::Wait(until));
    }
}

#[test]
fn a_certificate_that_has_run_out_is_not_left_alone_for_a_day() {
    let mut course = middle();
    for _ in 0..6 {
        course.failed(&failure(1), Some(&life(90.0, false)), at(91.0));
    }
    let until = at(91.0) + Duration::from_secs(3600);
    let wait = next(Some(&life(90.0, false)), &course, 1, at(91.0));
    assert_eq!(wait, Action::Wait(until));
}

#[test]
fn an_operator_need_not_wait() {
    let life = life(90.0, false);
    let mut course = middle();
    assert!(matches!(
        next(Some(&life), &course, 1, at(1.0)),
        Action::Wait(_)
    ));
    course.ask();
    assert_eq!(next(Some(&life), &course, 1, at(1.0)), ORDER);
    // Once: what fails then waits as ever.
    course.failed(&failure(1), Some(&life), at(1.0));
    assert!(matches!(
        next(Some(&life), &course, 1, at(1.0)),
        Action::Wait(_)
    ));
    course.ask();
    course.renewed(at(1.0), 0.5);
    assert!(matches!(
        next(Some(&life), &course, 1, at(1.0)),
        Action::Wait(_)
    ));
}
