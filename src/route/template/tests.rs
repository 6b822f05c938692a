use proptest::prelude::*;

use super::*;

/// Template, its normal form, and its variables with `+` for those of several segments.
const GOOD: &[(&str, &str, &str)] = &[
    ("/", "/", ""),
    ("/v1", "/v1", ""),
    ("/v1/games", "/v1/games", ""),
    ("/*", "/*", ""),
    ("/**", "/**", ""),
    ("/v1/*/games/*", "/v1/*/games/*", ""),
    ("/v1/**", "/v1/**", ""),
    ("/**/a", "/**/a", ""),
    ("/v1/**/a/*:run", "/v1/**/a/*:run", ""),
    ("/v1/{a=**}/b", "/v1/{a=**}/b", "a+"),
    ("/v1/{a=**/b}", "/v1/{a=**/b}", "a+"),
    ("/v1/{a=x/**}/{b}", "/v1/{a=x/**}/{b}", "a+ b"),
    ("/v1/{id}", "/v1/{id}", "id"),
    ("/v1/{id=*}", "/v1/{id}", "id"),
    ("/v1/{id=**}", "/v1/{id=**}", "id+"),
    ("/{a}/{b}/{c}", "/{a}/{b}/{c}", "a b c"),
    ("/v1/{game.id}", "/v1/{game.id}", "game.id"),
    ("/v1/{_a.b_2.C}", "/v1/{_a.b_2.C}", "_a.b_2.C"),
    ("/v1/{name=shelves/*}", "/v1/{name=shelves/*}", "name+"),
    (
        "/v1/{name=shelves/*/books/*}",
        "/v1/{name=shelves/*/books/*}",
        "name+",
    ),
    ("/v1/{name=shelves/**}", "/v1/{name=shelves/**}", "name+"),
    ("/v1/{name=*/*}", "/v1/{name=*/*}", "name+"),
    ("/v1/{kind=games}", "/v1/{kind=games}", "kind"),
    (
        "/v1/{a=x/*}/y/{b}/{c=**}",
        "/v1/{a=x/*}/y/{b}/{c=**}",
        "a+ b c+",
    ),
    ("/v1/games:list", "/v1/games:list", ""),
    ("/v1/games/{id}:publish", "/v1/games/{id}:publish", "id"),
    ("/v1/{n=a/*}:run", "/v1/{n=a/*}:run", "n+"),
    ("/v1/{n=**}:run", "/v1/{n=**}:run", "n+"),
    ("/v1/**:run", "/v1/**:run", ""),
    ("/v1/*:run", "/v1/*:run", ""),
    ("/v1/a:b:c", "/v1/a%3Ab:c", ""),
    ("/v1/a:b/c", "/v1/a%3Ab/c", ""),
    ("/v1/a%3Ab", "/v1/a%3Ab", ""),
    ("/v1/a%3Ab:c%3ad", "/v1/a%3Ab:c%3Ad", ""),
    ("/v1/{n=a:b}", "/v1/{n=a%3Ab}", "n"),
    ("/caf%C3%A9", "/caf%C3%A9", ""),
    ("/café", "/caf%C3%A9", ""),
    ("/a%2Fb", "/a%2Fb", ""),
    ("/%67ames", "/games", ""),
    ("/a%20b", "/a%20b", ""),
    ("/%7Eme/~me", "/~me/~me", ""),
    (
        "/a+b/c@d/e=f/g,h;i/j$k",
        "/a%2Bb/c%40d/e%3Df/g%2Ch%3Bi/j%24k",
        "",
    ),
    ("/pkg.v1.Service/Method", "/pkg.v1.Service/Method", ""),
    ("/.well-known/acme", "/.well-known/acme", ""),
    ("/...", "/...", ""),
    ("/%2A/%7Bx%7D", "/%2A/%7Bx%7D", ""),
];

/// Template, offset of the fault, and a part of the message.
const BAD: &[(&str, usize, &str)] = &[
    ("", 0, "starts with a slash"),
    ("v1", 0, "starts with a slash"),
    ("*", 0, "starts with a slash"),
    ("{a}", 0, "starts with a slash"),
    ("//", 1, "empty segment"),
    ("/v1/", 4, "empty segment"),
    ("/v1//a", 4, "empty segment"),
    ("/v1/:run", 4, "empty segment"),
    ("/:run", 1, "empty segment"),
    ("/v1/a:", 6, "empty verb"),
    ("/v1/*:", 6, "empty verb"),
    ("/v1/{a}:x/b", 9, "nothing may follow a verb"),
    ("/v1/*:x:y", 7, "a verb is plain text"),
    ("/v1/*:*", 6, "a verb is plain text"),
    ("/v1/{a}:{b}", 8, "a verb is plain text"),
    ("/v1/***", 4, "a wildcard takes a whole segment"),
    ("/v1/*a", 4, "a wildcard takes a whole segment"),
    ("/v1/a*", 5, "takes a whole segment"),
    ("/v1/a{b}", 5, "takes a whole segment"),
    (
        "/v1/{a}b",
        7,
        "expected a slash, a verb or the end, found 'b'",
    ),
    ("/v1/{a}é", 7, "found 'é'"),
    ("/v1/{a}{b}", 7, "found '{'"),
    ("/v1/{a}}", 7, "found '}'"),
    ("/v1/*}", 5, "found '}'"),
    ("/v1/a}", 5, "closing brace without an opening one"),
    ("/v1/}", 4, "closing brace without an opening one"),
    ("/v1/**/**", 7, "a second `**`"),
    ("/v1/**/a/**", 9, "a second `**`"),
    ("/v1/{a=**}/{b=**}", 14, "a second `**`"),
    ("/v1/{a=**/b/**}", 12, "a second `**`"),
    ("/v1/{a={b}}", 7, "can't contain another variable"),
    ("/v1/{a=x/{b}}", 9, "can't contain another variable"),
    ("/v1/{a}/{a}", 9, "\"a\" stands twice"),
    ("/v1/{a.b}/{a.b=*}", 11, "\"a.b\" stands twice"),
    ("/v1/{", 5, "expected a field name"),
    ("/v1/{}", 5, "expected a field name"),
    ("/v1/{=*}", 5, "expected a field name"),
    ("/v1/{.a}", 5, "expected a field name"),
    ("/v1/{a.}", 7, "expected a field name"),
    ("/v1/{a..b}", 7, "expected a field name"),
    ("/v1/{1a}", 5, "expected a field name"),
    ("/v1/{a.1}", 7, "expected a field name"),
    ("/v1/{a-b}", 6, "expected `=` or a closing brace"),
    ("/v1/{a b}", 6, "expected `=` or a closing brace"),
    ("/v1/{a", 4, "no closing brace"),
    ("/v1/{a=", 7, "an empty segment"),
    ("/v1/{a=*", 4, "no closing brace"),
    ("/v1/{a=x", 4, "no closing brace"),
    ("/v1/{a=}", 7, "an empty segment"),
    ("/v1/{a=/x}", 7, "an empty segment"),
    ("/v1/{a=x/}", 9, "an empty segment"),
    (
        "/v1/{a=*:v}",
        8,
        "expected a slash or a closing brace, found ':'",
    ),
    ("/v1/a?b=c", 5, "no query"),
    ("/v1/a#b", 5, "no query and no fragment"),
    ("/v1/a b", 5, "' ' must be percent-encoded"),
    ("/v1/a\\b", 5, "must be percent-encoded"),
    ("/v1/a\tb", 5, "must be percent-encoded"),
    ("/v1/%", 4, "without two hexadecimal digits"),
    ("/v1/a%4", 5, "without two hexadecimal digits"),
    ("/v1/a%zz", 5, "without two hexadecimal digits"),
    ("/v1/*:a%4", 7, "without two hexadecimal digits"),
    ("/v1/%ff", 4, "not UTF-8"),
    ("/v1/%00", 4, "control character"),
    ("/v1/a%0a", 4, "control character"),
    ("/v1/..", 4, "dot segment"),
    ("/v1/./a", 4, "dot segment"),
    ("/v1/%2e%2E/a", 4, "dot segment"),
    ("/v1/a%2F../b", 4, "dot segment"),
];

#[test]
fn the_grammar_takes_what_it_should() {
    for (text, normal, variables) in GOOD {
        let template = PathTemplate::parse(text).unwrap();
        assert_eq!(template.to_string(), *normal, "{text}");
        assert_eq!(template.as_str(), *text);
        let own: Vec<_> = template.variables().iter().collect();
        let own: Vec<_> = own
            .iter()
            .map(|v| format!("{}{}", v.field_path, if v.multi { "+" } else { "" }))
            .collect();
        assert_eq!(own.join(" "), *variables, "{text}");
        assert_eq!(PathTemplate::parse(normal).unwrap(), template, "{text}");
    }
}

#[test]
fn each_fault_has_its_place_and_its_reason() {
    for (text, offset, message) in BAD {
        let error = PathTemplate::parse(text).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.offset, *offset, "{text}: {error}");
        assert_eq!(*error.template, **text);
    }
}

#[test]
fn templates_are_bounded() {
    let many = "/a".repeat(crate::limits::TEMPLATE_SEGMENTS_MAX);
    assert!(PathTemplate::parse(&many).is_ok());
    let error = PathTemplate::parse(&format!("{many}/b")).unwrap_err();
    assert!(error.message.contains("more than 128 segments"), "{error}");
    let long = format!("/{}", "a".repeat(crate::limits::TEMPLATE_BYTES_MAX));
    let error = PathTemplate::parse(&long).unwrap_err();
    assert!(error.message.contains("longer than 4096 bytes"), "{error}");
}

#[test]
fn shapes_forget_names() {
    let shape = |text| PathTemplate::parse(text).unwrap().shape();
    assert_eq!(shape("/v1/{a=x/*}/{b}:do"), "/v1/x/*/*:do");
    assert_eq!(shape("/v1/{a=**}"), "/v1/**");
    assert_eq!(shape("/"), "/");
}

#[test]
fn equality_is_of_meaning() {
    let parse = |text| PathTemplate::parse(text).unwrap();
    assert_eq!(parse("/%61/{b=*}"), parse("/a/{b}"));
    assert_ne!(parse("/a/{b}"), parse("/a/{c}"));
    assert_ne!(parse("/a/{b}"), parse("/a/*"));
    assert_ne!(parse("/a/{b=x/*}"), parse("/a/x/{b}"));
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(text in template()) {
        let parsed = PathTemplate::parse(&text).unwrap();
        let printed = parsed.to_string();
        let again = PathTemplate::parse(&printed).unwrap();
        prop_assert_eq!(&again, &parsed, "{} as {}", text, printed);
        prop_assert_eq!(again.to_string(), printed);
    }

    #[test]
    fn nothing_panics(text in "\\PC*", syntax in "[/{}*=:%.a2Fé]{0,40}") {
        for text in [text.clone(), format!("/{text}"), syntax.clone(), format!("/{syntax}")] {
            match PathTemplate::parse(&text) {
                Ok(parsed) => prop_assert_eq!(PathTemplate::parse(&parsed.to_string()), Ok(parsed)),
                Err(error) => prop_assert!(text.is_char_boundary(error.offset), "{}", error),
            }
        }
    }
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9_~-]{1,6}",
        "x[a-zé:@+=]{0,4}x",
        "(%[2-7][0-9A-D]|%C3%A9|b){1,3}x",
    ]
}

fn template() -> impl Strategy<Value = String> {
    let segment = || prop_oneof![3 => literal(), 1 => Just("*".to_owned())];
    let inner = prop::collection::vec(segment(), 1..4);
    let variable = inner.prop_map(|segments| segments.join("/"));
    let part =
        prop_oneof![2 => segment(), 1 => variable.prop_map(|inner| format!("{{V={inner}}}"))];
    let end = prop_oneof![
        Just("/**/x"),
        Just("/{V=x/**}/{V}/*"),
        Just("/{V=**/x}"),
        Just(""),
        Just("/**"),
        Just("/{V=**}"),
        Just("/{V=x/**}"),
        Just("/{V}")
    ];
    let verb = prop_oneof![Just(""), Just(":run"), Just(":r%3Aun")];
    (prop::collection::vec(part, 1..5), end, verb).prop_map(|(parts, end, verb)| {
        let mut text = format!("/{}{end}{verb}", parts.join("/"));
        let mut number = 0;
        while let Some(at) = text.find("{V") {
            text.replace_range(at..at + 2, &format!("{{v{number}.f"));
            number += 1;
        }
        text
    })
}
