//! Certificates from Let's Encrypt's test authority.
#![cfg(feature = "peers")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use instant_acme::{Identifier, RevocationReason};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::acme::answers;
use support::acme::dns::NameServer;
use support::pebble::{Pebble, Terms};
use support::ports::free;
use support::{on_a_worker, soon};
use transom::acme::challenge::{Dns, Exec, Kind, Propagation, Solvers, Update, Way};
use transom::acme::{AcmeError, External, KeyType, Session, Wanted};
use zeroize::Zeroizing;

fn dns(names: &[&str]) -> Vec<Identifier> {
    names
        .iter()
        .map(|n| Identifier::Dns((*n).to_owned()))
        .collect()
}

async fn order(
    session: &Session,
    solvers: &Solvers,
    names: &[Identifier],
    key: KeyType,
) -> Result<Vec<CertificateDer<'static>>, AcmeError> {
    let wanted = Wanted {
        names,
        profile: None,
        replaces: None,
    };
    let placed = session.place(&wanted).await?;
    let key = key.generate().expect("a key");
    let chain = session.fulfil(&placed.url, &key, solvers, 0).await?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.expect("certificates");
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).expect("a certificate");
    assert_eq!(
        leaf.public_key().subject_public_key.data.as_ref(),
        key.public_key_raw(),
        "the certificate is for our key"
    );
    assert_eq!(chain.len(), 2, "the issuer comes with it");
    Ok(chain)
}

/// An order of its own for the names, on a new account.
async fn issue(pebble: &Pebble, kinds: &[Kind], names: &[Identifier], key: KeyType) {
    let authority = pebble.root.authority(&pebble.directory);
    let (session, credentials) = authority.register().await.expect("an account");
    let solvers = answers::serve(pebble.http, pebble.tls, kinds, None).await;
    order(&session, &solvers, names, key)
        .await
        .expect("a certificate");
    // The stored account is the same one.
    let again = authority.open(&credentials).await.expect("the account");
    order(&again, &solvers, names, key)
        .await
        .expect("a certificate");
}

fn server() -> (tokio::runtime::Runtime, NameServer) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let server = runtime.block_on(NameServer::start("example.com.", Some(key())));
    (runtime, server)
}

fn key() -> TSigner {
    let name = Name::from_ascii("transom.").expect("a name");
    TSigner::new(vec![7; 32], TsigAlgorithm::HmacSha256, name, 300).expect("a key")
}

fn update(server: SocketAddr) -> Dns {
    Dns {
        way: Way::Update(Update {
            server,
            zone: None,
            key: Some(key()),
        }),
        propagation: Propagation {
            wait: Duration::ZERO,
            timeout: Duration::from_secs(20),
            servers: Vec::new(),
        },
    }
}

#[test]
fn http_01_and_tls_alpn_01_prove_names_with_every_type_of_key() {
    let (_runtime, names) = server();
    let terms = Terms {
        dns: Some(names.address),
        ..Terms::default()
    };
    let pebble = Pebble::start(&terms);
    for (kind, key) in [
        (Kind::Http01, KeyType::P256),
        (Kind::TlsAlpn01, KeyType::P384),
        (Kind::Http01, KeyType::Rsa2048),
    ] {
        let names = dns(&["api.example.com", "www.example.com"]);
        on_a_worker(soon("a certificate", issue(&pebble, &[kind], &names, key)));
    }
}

#[test]
fn addresses_are_proved_by_http_01_and_by_tls_alpn_01() {
    let pebble = Pebble::start(&Terms::default());
    let names = [Identifier::Ip("127.0.0.1".parse().expect("an address"))];
    for kind in [Kind::Http01, Kind::TlsAlpn01] {
        // dns-01 comes first and is passed over.
        let kinds = [Kind::Dns01, kind];
        let issued = issue(&pebble, &kinds, &names, KeyType::P256);
        on_a_worker(soon("a certificate", issued));
    }
}

#[test]
fn a_wildcard_is_proved_beside_its_parent_by_signed_updates() {
    let (_runtime, names) = server();
    let terms = Terms {
        dns: Some(names.address),
        ..Terms::default()
    };
    let pebble = Pebble::start(&terms);
    on_a_worker(soon("a wildcard", async {
        let authority = pebble.root.authority(&pebble.directory);
        let (session, _) = authority.register().await.expect("an account");
        let dns01 = Some(update(names.address));
        let kinds = [Kind::Dns01];
        let solvers = answers::serve(pebble.http, pebble.tls, &kinds, dns01).await;
        let wanted = dns(&["*.example.com", "example.com"]);
        let chain = order(&session, &solvers, &wanted, KeyType::P256).await;
        chain.expect("a certificate");
        assert_eq!(names.records(), [], "nothing stays behind");
    }));
}

#[test]
fn a_program_may_make_the_records() {
    let (_runtime, names) = server();
    let terms = Terms {
        dns: Some(names.address),
        ..Terms::default()
    };
    let pebble = Pebble::start(&terms);
    let folder = tempfile::tempdir().expect("a folder");
    let heard = folder.path().join("heard");
    let script = format!("echo \"$@\" >>{}", heard.display());
    on_a_worker(soon("a refusal", async {
        let authority = pebble.root.authority(&pebble.directory);
        let (session, _) = authority.register().await.expect("an account");
        let way = Way::Exec(Exec {
            program: "sh".to_owned(),
            arguments: ["-c", &script, "hook"].map(str::to_owned).to_vec(),
            timeout: Duration::from_secs(20),
        });
        let dns01 = Dns {
            way,
            propagation: update(names.address).propagation,
        };
        // The program only writes down what it is asked for; the test does it.
        let mut dns01 = dns01;
        dns01.propagation.servers = vec![names.address];
        let solvers = answers::serve(pebble.http, pebble.tls, &[Kind::Dns01], Some(dns01)).await;
        let doing = async {
            loop {
                let text = std::fs::read_to_string(&heard).unwrap_or_default();
                if let Some(line) = text.lines().find(|l| l.starts_with("present ")) {
                    let mut words = line.split(' ').skip(1);
                    let (Some(name), Some(value)) = (words.next(), words.next()) else {
                        continue;
                    };
                    names.set(name, value, true);
                    return std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let wanted = dns(&["*.example.com"]);
        tokio::select! {
            () = doing => {}
            done = order(&session, &solvers, &wanted, KeyType::P256) => {
                done.expect("a certificate");
            }
        }
        let text = std::fs::read_to_string(&heard).expect("the program ran");
        let (present, cleanup) = text.trim().split_once('\n').expect("two lines");
        assert_eq!(
            present.strip_prefix("present"),
            cleanup.strip_prefix("cleanup")
        );
        let start = "present _acme-challenge.example.com. ";
        assert!(present.starts_with(start), "{present}");
    }));
}

#[test]
fn certificates_come_in_spite_of_refused_nonces() {
    let (_runtime, names) = server();
    for percent in ["15", "50"] {
        let terms = Terms {
            dns: Some(names.address),
            env: &[("PEBBLE_WFE_NONCEREJECT", percent)],
            ..Terms::default()
        };
        let pebble = Pebble::start(&terms);
        for _ in 0..5 {
            let names = dns(&["a.example.com", "b.example.com", "c.example.com"]);
            let issued = issue(&pebble, &[Kind::Http01], &names, KeyType::P256);
            on_a_worker(soon("a certificate", issued));
        }
    }
}

#[test]
fn reused_authorizations_slow_validation_and_several_roots_change_nothing() {
    let (_runtime, names) = server();
    let behaviours: [&[(&str, &str)]; 3] = [
        &[("PEBBLE_AUTHZREUSE", "100")],
        &[("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "3")],
        &[("PEBBLE_ALTERNATE_ROOTS", "2")],
    ];
    for env in behaviours {
        let terms = Terms {
            dns: Some(names.address),
            env,
            ..Terms::default()
        };
        let pebble = Pebble::start(&terms);
        let names = dns(&["a.example.com", "b.example.com"]);
        let issued = issue(&pebble, &[Kind::Http01], &names, KeyType::P256);
        on_a_worker(soon("a certificate", issued));
    }
}

#[test]
fn an_account_elsewhere_is_bound() {
    let secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble = Pebble::start(&Terms {
        external: Some(("kid-1", secret)),
        ..Terms::default()
    });
    on_a_worker(soon("accounts", async {
        let mut authority = pebble.root.authority(&pebble.directory);
        let error = authority.register().await.expect_err("it wants more");
        let said = "registering the account: the authority takes only those who have an account \
                    elsewhere: set `eab`";
        assert_eq!(error.to_string(), said);
        let decoded =
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, secret);
        let bind = |key: Vec<u8>| {
            Some(External {
                id: "kid-1".to_owned(),
                key: Zeroizing::new(key),
            })
        };
        authority.external = bind(vec![1; 32]);
        let error = authority.register().await.expect_err("a wrong key");
        assert_eq!(error.kind(), Some("unauthorized"), "{error}");
        authority.external = bind(decoded.expect("base64"));
        authority.register().await.expect("an account");
    }));
}

#[test]
fn certificates_are_revoked_and_terms_are_agreed_to_first() {
    let (_runtime, names) = server();
    let terms = Terms {
        dns: Some(names.address),
        ..Terms::default()
    };
    let pebble = Pebble::start(&terms);
    on_a_worker(soon("a revocation", async {
        let mut authority = pebble.root.authority(&pebble.directory);
        authority.agreed = false;
        let error = authority.register().await.expect_err("terms");
        assert!(
            error.to_string().contains("agree_to_terms: true"),
            "{error}"
        );
        authority.agreed = true;
        let (session, _) = authority.register().await.expect("an account");
        let kinds = [Kind::Http01];
        let solvers = answers::serve(pebble.http, pebble.tls, &kinds, None).await;
        let wanted = dns(&["api.example.com"]);
        let chain = order(&session, &solvers, &wanted, KeyType::P256).await;
        let chain = chain.expect("a certificate");
        for _ in 0..2 {
            let done = session
                .revoke(&chain[0], Some(RevocationReason::Superseded))
                .await;
            done.expect("revoked");
        }
        let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).expect("a certificate");
        let serial = leaf.raw_serial_as_string().replace(':', "");
        let url = format!("{}/cert-status-by-serial/{serial}", pebble.management);
        let answer = pebble.root.http().get(&url).await.expect("its state");
        let state: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(state["Status"], "Revoked");
    }));
}

#[test]
fn what_cannot_be_proved_is_told_in_the_words_of_the_authority() {
    let (_runtime, names) = server();
    let terms = Terms {
        dns: Some(names.address),
        ..Terms::default()
    };
    let pebble = Pebble::start(&terms);
    on_a_worker(soon("refusals", async {
        let authority = pebble.root.authority(&pebble.directory);
        let (session, _) = authority.register().await.expect("an account");
        // Nobody answers where Pebble looks.
        let kinds = [Kind::Http01];
        let [http, tls] = [free(), free()];
        let solvers = answers::serve(http, tls, &kinds, None).await;
        let wanted = dns(&["api.example.com"]);
        let error = order(&session, &solvers, &wanted, KeyType::P256).await;
        let error = error.expect_err("nobody answers").to_string();
        let start = "waiting for validation: api.example.com: ";
        assert!(error.starts_with(start), "{error}");
        assert!(error.contains("connection refused"), "{error}");
        assert!(error.contains("[connection]"), "{error}");
        let wanted = dns(&["*.example.com"]);
        let error = order(&session, &solvers, &wanted, KeyType::P256).await;
        let said = "answering the challenge for *.example.com: a wildcard can be proved by dns-01 \
                    alone, which isn't among `challenges`";
        assert_eq!(error.expect_err("no dns-01").to_string(), said);
    }));
}
