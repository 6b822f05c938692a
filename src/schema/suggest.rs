//! "did you mean": the nearest of some names.

/// Names longer than this aren't compared: nobody mistypes them, and the cost is quadratic.
const NAME_BYTES_MAX: usize = 64;

/// The candidate nearest to `name`, when one is near enough to be meant.
pub(crate) fn nearest<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    // A third of the letters may be wrong, but never all of a short name.
    let tolerance = (name.chars().count() / 3).clamp(1, 5);
    candidates
        .into_iter()
        .filter(|c| c.len().abs_diff(name.len()) <= tolerance)
        .map(|c| (distance(name, c), c))
        .filter(|(d, c)| *d <= tolerance && *d < c.chars().count())
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edits between the names; case and underscores count for nothing, so that `page_size`, `pageSize`
/// and `PageSize` are the same.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| -> String {
        s.chars()
            .filter(|c| *c != '_')
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    strsim::damerau_levenshtein(&fold(a), &fold(b))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["page_size", "page_token", "filter"];
        assert_eq!(nearest("pagesize", names), Some("page_size"));
        assert_eq!(nearest("pageTokne", names), Some("page_token"));
        assert_eq!(nearest("filtre", names), Some("filter"));
        assert_eq!(nearest("tags", names), None);
        assert_eq!(nearest("a", ["b"]), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest(&"filter".repeat(20), names), None);
    }
}
