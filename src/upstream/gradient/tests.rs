use proptest::prelude::*;

use super::*;

fn rule() -> Adaptive {
    Adaptive::default()
}

const WINDOW: Duration = Duration::from_millis(100);

/// A service that does so many calls at once, each in so long; more wait for each other.
#[derive(Clone, Copy, Debug)]
struct Service {
    capacity: f64,
    time: f64,
}

/// Callers who ask again as soon as they are answered, of whom as many as may are let through.
struct World {
    gradient: Gradient,
    service: Service,
    callers: usize,
    now: Duration,
    random: fastrand::Rng,
}

impl World {
    fn new(service: Service, callers: usize, most: usize) -> Self {
        Self {
            gradient: Gradient::new(&rule(), most),
            service,
            callers,
            now: Duration::ZERO,
            random: fastrand::Rng::with_seed(7),
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.now += WINDOW;
            let under_way = self.callers.min(self.gradient.limit());
            let load = f64::from(u32::try_from(under_way).unwrap());
            let time = self.service.time * (load / self.service.capacity).max(1.0);
            let answers = (load * WINDOW.as_secs_f64() / time).round();
            let mut times = [0; CLASSES];
            let mut left = answers;
            while left >= 1.0 {
                let noise = 0.8 + 0.4 * self.random.f64();
                let time = Duration::try_from_secs_f64(time * noise).unwrap();
                times[class(time)] += 1;
                left -= 1.0;
            }
            let seen = Seen {
                times: &times,
                in_flight: under_way,
                peak: under_way,
            };
            self.gradient.look(self.now, seen, self.random.f64());
        }
    }

    /// Where the limit is when it isn't being measured.
    fn settled(&self) -> f64 {
        self.gradient.limit
    }
}

const FIFTY: Service = Service {
    capacity: 50.0,
    time: 0.02,
};

#[test]
fn too_much_is_cut_to_what_the_service_can_do() {
    let mut world = World::new(FIFTY, 2000, 1000);
    world.gradient.limit = 1000.0;
    // The first answers are slow ones already, so that only a probe shows what is wrong.
    world.run(300);
    let settled = world.settled();
    assert!((50.0..150.0).contains(&settled), "{settled}");
    assert!(world.gradient.alone().unwrap() < Duration::from_millis(30));
}

#[test]
fn a_service_that_is_slowed_by_less_room_is_given_less_at_once() {
    let mut world = World::new(FIFTY, 2000, 1000);
    world.run(30);
    let before = world.settled();
    world.service.capacity = 10.0;
    world.run(3);
    let after = world.settled();
    assert!(after < before / 2.0, "{before} {after}");
    world.service.capacity = 200.0;
    world.run(30);
    assert!(world.settled() > 190.0, "{}", world.settled());
}

#[test]
fn work_that_takes_longer_is_no_overload_for_long() {
    let mut world = World::new(FIFTY, 2000, 1000);
    world.run(30);
    world.service.time *= 4.0;
    world.run(10);
    assert!(world.settled() < 40.0, "{}", world.settled());
    // Measured anew, it is known for what it is.
    world.run(150);
    assert!(world.settled() > 45.0, "{}", world.settled());
}

#[test]
fn who_asks_little_is_never_in_the_way() {
    let mut world = World::new(FIFTY, 10, 1000);
    for _ in 0..200 {
        world.run(1);
        assert!(world.gradient.limit() >= 10, "{}", world.gradient.limit());
        assert!(world.gradient.limit() <= FIRST);
    }
}

#[test]
fn a_probe_that_nobody_answers_ends() {
    let mut world = World::new(FIFTY, 100, 1000);
    world.run(30);
    let before = world.settled();
    world.callers = 0;
    world.run(300);
    assert!(matches!(world.gradient.phase, Phase::Serving(Some(_))));
    assert!(world.settled() >= before * 0.9);
}

#[test]
fn classes_are_an_eighth_of_a_doubling_wide() {
    for micros in [8, 9, 100, 1000, 12_345, 1_000_000, 60_000_000] {
        let time = Duration::from_micros(micros);
        let middle = middle(class(time));
        let exact = time.as_secs_f64() * 1e6;
        assert!((middle / exact - 1.0).abs() < 0.13, "{micros} {middle}");
    }
    assert_eq!(class(Duration::ZERO), class(Duration::from_micros(8)));
    assert_eq!(class(Duration::MAX), CLASSES - 1);
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds(
        least in 1..200_usize,
        most in 1..2000_usize,
        looks in prop::collection::vec(
            (0..CLASSES, 0..200_u32, 0..3000_usize, 0..20_000_u64, 0.0..1.0_f64),
            0..100,
        ),
    ) {
        let rule = Adaptive { in_flight_min: least, ..rule() };
        let mut gradient = Gradient::new(&rule, most);
        let mut now = Duration::ZERO;
        for (class, count, in_flight, wait, jitter) in looks {
            now += Duration::from_millis(wait);
            let mut times = [0; CLASSES];
            times[class] = count;
            let seen = Seen { times: &times, in_flight, peak: in_flight };
            gradient.look(now, seen, jitter);
            let limit = gradient.limit();
            assert!(limit <= most && limit >= least.min(most), "{limit}");
        }
    }

    #[test]
    fn slower_answers_never_mean_a_higher_limit(fast in 24..CLASSES, slow in 24..CLASSES) {
        let (fast, slow) = (fast.min(slow), fast.max(slow));
        let after = |class: usize| {
            let mut gradient = Gradient::new(&rule(), 1000);
            for at in [24, class] {
                let mut times = [0; CLASSES];
                times[at] = 100;
                let seen = Seen { times: &times, in_flight: 1000, peak: 1000 };
                gradient.look(WINDOW, seen, 0.5);
            }
            gradient.limit()
        };
        assert!(after(slow) <= after(fast));
    }
}
