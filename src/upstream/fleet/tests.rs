use super::*;

fn upstream(endpoints: &[&str]) -> Upstream {
    let endpoints = endpoints.iter().map(|text| {
        let (host, port) = text.rsplit_once(':').unwrap();
        model::Endpoint::host(host, port.parse().unwrap())
    });
    Upstream::new("games", endpoints.collect())
}

fn rule() -> Ejection {
    Ejection {
        time: Duration::from_secs(600),
        ..Ejection::default()
    }
}

#[test]
fn an_upstream_is_shared_until_it_changes() {
    let fleet = Fleet::new(2);
    let spec = upstream(&["10.0.0.1:1"]);
    let first = fleet.upstream(&spec);
    assert!(Arc::ptr_eq(&first, &fleet.upstream(&spec)));
    let moved = upstream(&["10.0.0.2:1"]);
    let second = fleet.upstream(&moved);
    assert!(!Arc::ptr_eq(&first, &second));
    // A worker that is late asks for the old one, and disturbs nobody.
    assert!(Arc::ptr_eq(&first, &fleet.upstream(&spec)));
    assert!(Arc::ptr_eq(&second, &fleet.upstream(&moved)));
    fleet.retain(&[]);
    assert!(!Arc::ptr_eq(&second, &fleet.upstream(&moved)));
}

#[tokio::test]
async fn doubts_are_told_once() {
    let fleet = Fleet::new(1);
    let (games, shop) = (upstream(&["10.0.0.1:1"]), upstream(&["10.0.0.2:1"]));
    let shared = fleet.upstream(&games);
    shared.doubt();
    shared.doubt();
    assert_eq!(fleet.doubted().await, ["games".into()]);
    let mut other = shop;
    other.name = "shop".into();
    shared.publish(Members::new([]));
    fleet.upstream(&other).doubt();
    let mut names = fleet.doubted().await;
    names.sort();
    assert_eq!(names, ["games".into(), "shop".into()]);
    // Told one by one, nothing is left; a late notice has no names.
    let late = tokio::time::timeout(Duration::from_millis(1), fleet.doubted()).await;
    assert!(late.is_err() || late.is_ok_and(|names| names.is_empty()));
    assert!(
        fleet
            .known(&games)
            .is_some_and(|k| Arc::ptr_eq(&k, &shared))
    );
    assert!(fleet.known(&upstream(&["10.0.0.3:1"])).is_none());
}

#[test]
fn half_may_be_left_out_and_the_last_never() {
    let shared = Fleet::new(1).upstream(&upstream(&["10.0.0.1:1", "10.0.0.2:1", "x:1", "y:1"]));
    let members = shared.members();
    let out: Vec<_> = members
        .iter()
        .map(|m| shared.eject(m, &rule(), 0.0))
        .collect();
    assert_eq!(out, [true, true, false, false]);
    assert!(!shared.eject(members.iter().next().unwrap(), &rule(), 0.0));
    let alone = Fleet::new(1).upstream(&upstream(&["10.0.0.1:1"]));
    let members = alone.members();
    assert!(!alone.eject(members.iter().next().unwrap(), &rule(), 0.0));
}

#[test]
fn after_its_time_one_call_tries_it() {
    let shared = Fleet::new(1).upstream(&upstream(&["10.0.0.1:1", "10.0.0.2:1"]));
    let members = shared.members();
    let member = members.iter().next().unwrap();
    assert!(!member.tries_again());
    let at_once = Ejection {
        time: Duration::ZERO,
        ..rule()
    };
    assert!(shared.eject(member, &at_once, 0.0));
    while !member.tries_again() {}
    assert!(!member.tries_again(), "a second one while the first tries");
    assert!(member.is_ejected());
    member.stay_out(&rule(), 0.0);
    assert!(!member.tries_again());
    assert_eq!(member.ejections(), 2);
    member.readmit();
    assert!(!member.is_ejected());
}
