//! Orders at an authority that fails, is slow, says no, or lies.

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{CertificateIdentifier, Identifier};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::acme::ca::{At, Ca, Fault};
use support::acme::manners::COURSE;
use support::{on_a_worker, soon};
use transom::acme::challenge::{Certificates, Kind, Solvers};
use transom::acme::{AcmeError, Authority, Cause, HttpError, KeyType, Wanted, identifier};

fn solvers() -> Solvers {
    Solvers {
        kinds: [Kind::Http01].into(),
        tokens: Arc::default(),
        certificates: Arc::new(Certificates::new(Box::new(drop))),
        dns: None,
    }
}

fn names(names: &[&str]) -> Vec<Identifier> {
    names
        .iter()
        .map(|n| Identifier::Dns((*n).to_owned()))
        .collect()
}

fn authority(ca: &Ca) -> Authority {
    let mut authority = ca.root.authority(&ca.directory);
    // The test waits for what never answers.
    authority.http = ca.root.http_within(Duration::from_secs(2));
    authority
}

type Chain = Vec<CertificateDer<'static>>;

async fn order(
    authority: &Authority,
    names: &[Identifier],
    profile: Option<&str>,
    replaces: Option<&CertificateIdentifier<'static>>,
) -> Result<(bool, Chain), AcmeError> {
    let (session, _) = authority.register().await?;
    let wanted = Wanted {
        names,
        profile,
        replaces,
    };
    let placed = session.place(&wanted).await?;
    let key = KeyType::P256.generate().expect("a key");
    let solvers = solvers();
    let chain = session.fulfil(&placed.url, &key, &solvers, 0).await?;
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>();
    Ok((placed.replaces, chain.expect("certificates")))
}

#[test]
fn a_connection_that_is_cut_costs_at_most_a_new_attempt() {
    let ca = Ca::start();
    on_a_worker(soon("certificates", async {
        let names = names(&["api.example.com", "www.example.com"]);
        for at in COURSE {
            for fault in [Fault::Cut, Fault::CutAfter] {
                ca.fail(at, 1, fault.clone());
                let authority = authority(&ca);
                let before = ca.orders().len();
                let done = order(&authority, &names, None, None).await;
                let placing = [At::Directory, At::Nonce, At::Account, At::NewOrder];
                match (placing.contains(&at), done) {
                    // Who places orders again does so when the schedule says.
                    (true, Err(error)) => {
                        let Cause::Http(HttpError::Cut { host, .. }) = &error.cause else {
                            panic!("{at:?} {fault:?}: {error}");
                        };
                        assert_eq!(host, "127.0.0.1");
                        assert!(error.passes());
                        ca.state().manners.faults.clear();
                        let done = order(&authority, &names, None, None).await;
                        done.unwrap_or_else(|e| panic!("{at:?} {fault:?}: {e}"));
                        let placed = ca.orders().len() - before;
                        let twice = at == At::NewOrder && matches!(fault, Fault::CutAfter);
                        assert_eq!(placed, if twice { 2 } else { 1 }, "{at:?} {fault:?}");
                    }
                    (false, Ok(_)) => assert_eq!(ca.orders().len(), before + 1),
                    (_, done) => panic!("{at:?} {fault:?}: {done:?}"),
                }
            }
        }
        let agents = ca.state().agents.clone();
        assert!(
            agents.iter().all(|a| a.starts_with("transom/")),
            "{agents:?}"
        );
    }));
}

#[test]
fn an_unhappy_authority_is_waited_for_and_quoted() {
    let ca = Ca::start();
    on_a_worker(soon("answers", async {
        let names = names(&["api.example.com"]);
        for at in [At::Order, At::Authorization, At::Finalize, At::Certificate] {
            let authority = authority(&ca);
            for fault in [
                Fault::Page(503, Some("1")),
                Fault::Problem(500, "serverInternal", None),
            ] {
                ca.fail(at, 1, fault);
                let done = order(&authority, &names, None, None).await;
                done.unwrap_or_else(|e| panic!("{at:?}: {e}"));
            }
            // It wants more time than an order has.
            ca.fail(at, 1, Fault::Page(503, Some("3600")));
            let error = order(&authority, &names, None, None).await;
            let error = error.expect_err("it isn't waited for");
            assert_eq!(error.retry_after, Some(Duration::from_secs(3600)));
            let quoted = "the authority answers 503 Service Unavailable: <html> <h1>an unhappy \
                          proxy</h1> (to be asked again in 3600s)";
            assert!(error.to_string().ends_with(quoted), "{at:?}: {error}");
        }
        let authority = authority(&ca);
        let limit = Fault::Problem(429, "rateLimited", Some("120"));
        for at in [At::Account, At::NewOrder, At::Finalize] {
            ca.fail(at, 1, limit.clone());
            let error = order(&authority, &names, None, None).await;
            let error = error.expect_err("a limit");
            assert!(error.is_limit(), "{error}");
            assert_eq!(error.retry_after, Some(Duration::from_secs(120)), "{error}");
            let said = error.to_string();
            let end = "as the test wants [rateLimited] (to be asked again in 120s)";
            assert!(said.ends_with(end), "{said}");
        }
    }));
}

#[test]
fn an_authority_without_a_word_is_not_waited_for() {
    let ca = Ca::start();
    on_a_worker(soon("errors", async {
        let names = names(&["api.example.com"]);
        for at in [At::Directory, At::NewOrder] {
            let authority = authority(&ca);
            ca.fail(at, 1, Fault::Silence);
            let error = order(&authority, &names, None, None).await;
            let said = error.expect_err("silence").to_string();
            assert!(
                said.ends_with("127.0.0.1 doesn't answer within 2s"),
                "{said}"
            );
        }
        let nobody = support::ports::free();
        let nowhere = ca.root.authority(&format!("https://{nobody}/directory"));
        let said = nowhere.register().await.expect_err("nobody").to_string();
        let start = "reading the directory: 127.0.0.1 can't be reached: ";
        assert!(said.starts_with(start), "{said}");
        let mut stranger = ca.root.authority(&ca.directory);
        stranger.http = support::acme::Root::new().http();
        let said = stranger.register().await.expect_err("unknown").to_string();
        assert!(
            said.contains("shows a certificate that isn't accepted"),
            "{said}"
        );
        let wrong = ca.directory.replace("directory", "certificates");
        let said = ca.root.authority(&wrong).register().await;
        let said = said.expect_err("no directory").to_string();
        assert!(
            said.starts_with("reading the directory: the authority answers 404"),
            "{said}"
        );
        let wrong = ca.directory.replace("directory", "nonce");
        let said = ca.root.authority(&wrong).register().await;
        let said = said.expect_err("no directory").to_string();
        assert!(said.contains("is no ACME directory"), "{said}");
    }));
}

#[test]
fn a_storm_of_refused_nonces_passes() {
    let ca = Ca::start();
    on_a_worker(soon("a certificate", async {
        let authority = authority(&ca);
        let (session, _) = authority.register().await.expect("an account");
        let names = names(&["a.example.com", "b.example.com"]);
        let wanted = Wanted {
            names: &names,
            profile: None,
            replaces: None,
        };
        ca.state().manners.refused_nonces = 20;
        let placed = session.place(&wanted).await.expect("an order");
        let key = KeyType::P256.generate().expect("a key");
        ca.state().manners.refused_nonces = 20;
        let solvers = solvers();
        let done = session.fulfil(&placed.url, &key, &solvers, 0).await;
        done.expect("a certificate");
        ca.state().manners.refused_nonces = 1000;
        let error = session.place(&wanted).await.expect_err("all are refused");
        assert_eq!(error.kind(), Some("badNonce"));
        assert_eq!(ca.state().manners.refused_nonces, 1000 - 24);
    }));
}

#[test]
fn a_slow_authority_is_asked_when_it_wants_to_be() {
    let ca = Ca::start();
    on_a_worker(soon("a certificate", async {
        let names = names(&["api.example.com"]);
        ca.state().manners.processing = (2, Some("1"));
        let authority = authority(&ca);
        let before = std::time::Instant::now();
        let done = order(&authority, &names, None, None).await;
        done.expect("a certificate");
        let asked = ca.state().asked[&At::Order];
        assert!(asked <= 5, "asked {asked} times");
        assert!(before.elapsed() >= Duration::from_secs(3));
        // Longer than an order may take.
        let mut hasty = self::authority(&ca);
        hasty.patience = Duration::from_secs(3);
        ca.state().manners.processing = (100, None);
        let error = order(&hasty, &names, None, None).await;
        let said = error.expect_err("too slow").to_string();
        let start = "finalizing the order: not done within 3s";
        assert!(said.starts_with(start), "{said}");
    }));
}

#[test]
fn renewals_say_what_they_replace_once() {
    let ca = Ca::start();
    on_a_worker(soon("certificates", async {
        let authority = authority(&ca);
        let names = names(&["api.example.com"]);
        let (_, chain) = order(&authority, &names, None, None)
            .await
            .expect("the first");
        let first = identifier(&chain[0]).expect("it has an issuer");
        let renewed = order(&authority, &names, None, Some(&first)).await;
        assert!(renewed.expect("the second").0);
        let placed = ca.orders();
        assert_eq!(placed[1].replaces, Some(first.to_string()));
        // Said again, it is refused: the order goes without.
        let renewed = order(&authority, &names, None, Some(&first)).await;
        assert!(!renewed.expect("the third").0);
        assert_eq!(ca.orders()[2].replaces, None);
        // A limit isn't got round that way.
        ca.fail(At::NewOrder, 1, Fault::Problem(429, "rateLimited", None));
        let asked = ca.state().asked[&At::NewOrder];
        let refused = order(&authority, &names, None, Some(&first)).await;
        assert!(refused.expect_err("a limit").is_limit());
        assert_eq!(ca.state().asked[&At::NewOrder], asked + 1);
        // Where there is no renewal information, nothing is said of it.
        ca.state().manners.window = None;
        let plain = self::authority(&ca);
        let (_, chain) = order(&plain, &names, None, Some(&first))
            .await
            .expect("it goes without");
        let id = identifier(&chain[0]).expect("it has an issuer");
        assert_eq!(plain.window(&id).await.expect("no opinion"), None);
    }));
}

#[test]
fn windows_are_read_with_what_belongs_to_them() {
    let ca = Ca::start();
    on_a_worker(soon("windows", async {
        let authority = authority(&ca);
        let names = names(&["api.example.com"]);
        let (_, chain) = order(&authority, &names, None, None)
            .await
            .expect("a certificate");
        let id = identifier(&chain[0]).expect("it has an issuer");
        let window = authority.window(&id).await.expect("an answer");
        let window = window.expect("a window");
        let day = Duration::from_secs(86400);
        let around = |at: SystemTime, days: u32| {
            let wanted = SystemTime::now() + day * days;
            let apart = wanted
                .duration_since(at)
                .or_else(|e| Ok::<_, ()>(e.duration()));
            apart.expect("a duration") < day
        };
        assert!(around(window.start, 60), "{window:?}");
        assert!(around(window.end, 67), "{window:?}");
        assert_eq!(window.ask_again, day / 4);
        assert_eq!(window.explanation, None);
        {
            let mut state = ca.state();
            state.manners.explanation = Some("https://ca.example/incident");
            state.manners.window_retry_after = None;
            // All in the past: at once.
            state.manners.window = Some(|from, _| {
                (
                    from - Duration::from_secs(7200),
                    from - Duration::from_secs(3600),
                )
            });
        }
        let window = authority.window(&id).await.expect("an answer");
        let window = window.expect("a window");
        assert!(window.end < SystemTime::now());
        assert_eq!(
            window.ask_again,
            day / 4,
            "a missing Retry-After has a default"
        );
        assert_eq!(
            window.explanation.as_deref(),
            Some("https://ca.example/incident")
        );
        for (told, kept) in [("1", 60), ("604800", 86400)] {
            ca.state().manners.window_retry_after = Some(told);
            let window = authority.window(&id).await.expect("an answer");
            let kept = Duration::from_secs(kept);
            assert_eq!(window.expect("a window").ask_again, kept);
        }
        ca.state().manners.window = Some(|from, _| (from, from - Duration::from_secs(1)));
        let error = authority.window(&id).await.expect_err("upside down");
        let said = "asking when to renew: the window ends before it starts";
        assert!(error.to_string().starts_with(said), "{error}");
        ca.fail(At::RenewalInfo, 1, Fault::Page(503, Some("90")));
        let error = authority.window(&id).await.expect_err("down");
        assert_eq!(error.retry_after, Some(Duration::from_secs(90)));
    }));
}

#[test]
fn profiles_are_asked_for_only_where_they_are_offered() {
    let ca = Ca::start();
    on_a_worker(soon("orders", async {
        let names = names(&["api.example.com"]);
        let authority = authority(&ca);
        let error = order(&authority, &names, Some("shortlived"), None).await;
        let said =
            "placing the order: there is no profile \"shortlived\"; the authority offers none";
        assert_eq!(error.expect_err("none are offered").to_string(), said);
        let offered = ["classic", "shortlived"].map(|p| (p.to_owned(), String::new()));
        ca.state().manners.profiles = offered.into();
        let authority = self::authority(&ca);
        let done = order(&authority, &names, Some("shortlived"), None).await;
        done.expect("a certificate");
        assert_eq!(ca.orders()[0].profile.as_deref(), Some("shortlived"));
        let error = order(&authority, &names, Some("tlsserver"), None).await;
        let said = error.expect_err("not that one").to_string();
        assert!(
            said.ends_with("the authority offers classic, shortlived"),
            "{said}"
        );
    }));
}

#[test]
fn names_that_are_not_proved_are_told_one_by_one() {
    let ca = Ca::start();
    on_a_worker(soon("a refusal", async {
        let authority = authority(&ca);
        let wanted = names(&["a.example.com", "b.example.com", "c.example.com"]);
        let bad = ["a.example.com", "c.example.com"].map(str::to_owned);
        ca.state().manners.unproved = bad.into();
        let error = order(&authority, &wanted, None, None).await;
        let said = error.expect_err("not proved").to_string();
        let word = "the file holds something else [unauthorized]";
        for name in ["a.example.com", "c.example.com"] {
            assert!(said.contains(&format!("{name}: {word}")), "{said}");
        }
        assert!(!said.contains("b.example.com"), "{said}");
    }));
}
