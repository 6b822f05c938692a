use super::*;

#[test]
fn host_patterns() {
    let good = [
        ("example.com", "example.com"),
        ("EXAMPLE.com.", "example.com"),
        ("*.Example.com", "*.example.com"),
        ("localhost", "localhost"),
        ("10.0.0.7", "10.0.0.7"),
        ("[::1]", "[::1]"),
        ("games_v1.svc", "games_v1.svc"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ];
    for (text, normal) in good {
        assert_eq!(HostPattern::parse(text).unwrap().as_str(), normal);
    }
    let long = format!("{}.com", "a".repeat(64));
    let bad = [
        "", ".", "*", "*.", "a..b", ".a", "a.*.b", "**.a", "*a.b", "*.*.a", "a:80", "a/b", "a b",
        "[::1", "[x]", "*.[::1]", "-a.b", "a-.b", "é.com", "http://a", &long,
    ];
    for text in bad {
        assert_eq!(HostPattern::parse(text), None, "{text:?}");
    }
}

#[test]
fn roots_come_from_exact_to_any() {
    let mut hosts = Hosts::default();
    let patterns = ["a.b.c", "*.b.c", "*.c", "*.a.b.c"];
    for (root, pattern) in (1..).zip(patterns) {
        hosts.insert(HostPattern::parse(pattern).as_ref(), root);
    }
    hosts.insert(None, 0);
    let cases: &[(&str, &[u32])] = &[
        ("a.b.c", &[1, 2, 3, 0]),
        ("A.B.C.", &[1, 2, 3, 0]),
        ("x.b.c", &[2, 3, 0]),
        ("b.c", &[3, 0]),
        ("c", &[0]),
        (".c", &[0]),
        ("", &[0]),
        ("z.y.a.b.c", &[4, 2, 3, 0]),
        ("é.c", &[3, 0]),
        ("xb.c", &[3, 0]),
    ];
    for (host, roots) in cases {
        assert_eq!(hosts.roots(host).as_slice(), *roots, "{host}");
        let takes = |p: &&str| HostPattern::parse(p).unwrap().takes(host);
        assert_eq!(
            patterns.iter().filter(|p| takes(p)).count(),
            roots.len() - 1,
            "{host}"
        );
    }
    let long = format!("{}c", "a.".repeat(4000));
    assert_eq!(hosts.roots(&long).as_slice(), [0]);
}
