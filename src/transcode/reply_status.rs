//! Which HTTP status a reply gets where a route has a say in it: by gRPC code, or by the service itself.

use http::{HeaderMap, HeaderName, StatusCode};

use crate::failure::{Failure, GrpcCode};

/// A route's own statuses. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statuses {
    /// By number of the code.
    by_code: [Option<StatusCode>; GrpcCode::ALL.len()],
    /// Metadata in which the service names the status itself (`x-http-code`).
    pub from_metadata: Option<HeaderName>,
}

impl Statuses {
    /// The code's usual status takes back what has been set.
    pub fn set(&mut self, code: GrpcCode, status: StatusCode) {
        if let Some(slot) = self.by_code.get_mut(usize::from(code.number())) {
            *slot = Some(status).filter(|s| *s != code.http_status());
        }
    }

    fn get(&self, code: GrpcCode) -> Option<StatusCode> {
        self.by_code
            .get(usize::from(code.number()))
            .copied()
            .flatten()
    }

    /// Of a reply to a call that went well.
    #[must_use]
    pub fn of_success(&self) -> StatusCode {
        self.get(GrpcCode::Ok).unwrap_or(StatusCode::OK)
    }

    /// Of a failure. What HTTP says more exactly than a code does (405, 413, 415 …) stays as it is.
    #[must_use]
    pub fn of_failure(&self, failure: &Failure) -> StatusCode {
        match failure.http_status {
            Some(status) => status,
            None => self
                .get(failure.code)
                .unwrap_or_else(|| failure.http_status()),
        }
    }

    /// What the service itself asks for. Anything but a final status is not taken.
    #[must_use]
    pub fn named_by(&self, metadata: &HeaderMap) -> Option<StatusCode> {
        let text = metadata.get(self.from_metadata.as_ref()?)?.to_str().ok()?;
        let status = StatusCode::from_u16(text.trim().parse().ok()?).ok()?;
        (200..=599).contains(&status.as_u16()).then_some(status)
    }
}

/// Whether a reply of this status has no content (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
#[must_use]
pub fn is_bare(status: StatusCode) -> bool {
    matches!(status.as_u16(), 204 | 205 | 304)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: GrpcCode) -> Failure {
        Failure::new(crate::failure::Blame::Client, code, "x")
    }

    fn statuses() -> Statuses {
        let mut statuses = Statuses::default();
        statuses.set(GrpcCode::Ok, StatusCode::CREATED);
        statuses.set(GrpcCode::NotFound, StatusCode::GONE);
        statuses.from_metadata = Some(HeaderName::from_static("x-http-code"));
        statuses
    }

    #[test]
    fn a_code_has_the_status_that_the_route_gives_it() {
        let of = |code| statuses().of_failure(&failure(code));
        assert_eq!(statuses().of_success(), StatusCode::CREATED);
        assert_eq!(Statuses::default().of_success(), StatusCode::OK);
        assert_eq!(of(GrpcCode::NotFound), StatusCode::GONE);
        assert_eq!(of(GrpcCode::Aborted), StatusCode::CONFLICT);
        let exact = failure(GrpcCode::NotFound).status(StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(
            statuses().of_failure(&exact),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }

    #[test]
    fn the_service_names_a_final_status_or_none() {
        for (value, expected) in [
            ("202", Some(StatusCode::ACCEPTED)),
            (" 599 ", StatusCode::from_u16(599).ok()),
            ("101", None),
            ("600", None),
            ("99999", None),
            ("-1", None),
            ("ok", None),
            ("", None),
        ] {
            let mut metadata = HeaderMap::new();
            metadata.insert("x-http-code", value.parse().unwrap());
            assert_eq!(statuses().named_by(&metadata), expected, "{value:?}");
            assert_eq!(Statuses::default().named_by(&metadata), None);
        }
    }
}
