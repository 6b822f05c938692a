//! Path templates: any text is a template or an error with a place; a template's normal form means
//! the same. Escapes make it longer, at times longer than a template may be.

use transom::limits::TEMPLATE_BYTES_MAX;
use transom::route::PathTemplate;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match PathTemplate::parse(text) {
        Ok(template) => {
            let normal = template.to_string();
            if normal.len() > TEMPLATE_BYTES_MAX {
                return;
            }
            let again = PathTemplate::parse(&normal).expect("the normal form is a template");
            assert_eq!(again, template);
            assert_eq!(again.to_string(), normal);
        }
        Err(error) => assert!(text.is_char_boundary(error.offset), "{error}"),
    }
}
