//! Services, methods and their HTTP rules.

use super::{refuses, scalar, with_fields};
use crate::schema::descriptor::{
    CustomPatternDescriptor, HttpRuleDescriptor, MethodDescriptor, MethodOptions,
    PatternDescriptor, ServiceDescriptor,
};

fn rpc(name: &str, input: &str, http: Option<HttpRuleDescriptor>) -> MethodDescriptor {
    MethodDescriptor {
        name: Some(name.to_owned()),
        input_type: Some(input.to_owned()),
        output_type: Some(".p.M".to_owned()),
        options: Some(MethodOptions {
            idempotency_level: Some(7),
            http,
        }),
        ..MethodDescriptor::default()
    }
}

fn get(path: &str) -> HttpRuleDescriptor {
    HttpRuleDescriptor {
        pattern: Some(PatternDescriptor::Get(path.to_owned())),
        ..HttpRuleDescriptor::default()
    }
}

#[test]
fn services_and_http_rules() {
    let mut f = with_fields(vec![scalar("a", 1, 9)]);
    let bare = HttpRuleDescriptor::default();
    let custom = |kind: &str| HttpRuleDescriptor {
        pattern: Some(PatternDescriptor::Custom(CustomPatternDescriptor {
            kind: kind.to_owned(),
            path: "/x".to_owned(),
        })),
        ..bare.clone()
    };
    let nested = HttpRuleDescriptor {
        additional_bindings: vec![
            HttpRuleDescriptor {
                additional_bindings: vec![get("/b")],
                ..get("/a")
            },
            bare.clone(),
        ],
        ..get("/")
    };
    f.service = vec![ServiceDescriptor {
        name: Some("S".into()),
        method: vec![
            rpc("Fine", ".p.M", Some(get("/v1/a"))),
            rpc("Fine", ".p.M", None),
            rpc("Bare", ".p.M", Some(bare.clone())),
            rpc("Empty", ".p.M", Some(get(""))),
            rpc("NoKind", ".p.M", Some(custom(""))),
            rpc("Forged", ".p.M", Some(custom("GET / HTTP/1.1\r\n"))),
            rpc("Nested", ".p.M", Some(nested)),
            rpc("Lost", ".p.Gone", None),
            rpc("NoType", "", None),
            rpc("Own", ".p.S", None),
            rpc("a/b", ".p.M", None),
        ],
    }];
    refuses(
        f,
        &[
            "p.S.Fine: the method is declared twice",
            "p.S.Bare: the google.api.http option has no pattern",
            "p.S.Empty: the google.api.http option has an empty path",
            "p.S.NoKind: the google.api.http option has a custom pattern without a kind",
            "p.S.Forged: the google.api.http option has a custom pattern whose kind is no HTTP method",
            "p.S.Nested: additional_bindings[0] has additional_bindings of its own",
            "p.S.Nested: additional_bindings[1] has no pattern",
            "p.S.Lost: the type p.Gone is not declared",
            "p.S.NoType: the method has no request type",
            "p.S.Own: the request type .p.S is not a message",
            "p.S.a/b: the method's name is not an identifier",
        ],
    );
}
