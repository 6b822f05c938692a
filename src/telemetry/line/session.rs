//! What lines tell of a connection's TLS: the same in each of its lines, so it is written once, when the
//! first of them asks, and copied from then on.

use std::cell::OnceCell;

use super::object::Object;

/// TLS as a connection's client and the gateway have agreed on it.
#[derive(Debug, Default)]
pub struct Session {
    /// `1.2` or `1.3`
    pub version: &'static str,
    /// As IANA calls it, but for the `TLS13_` in front of those of TLS 1.3.
    pub cipher: &'static str,
    /// The name that the client asked for.
    pub name: Option<Box<str>>,
    /// It goes on from a session before.
    pub resumed: bool,
    pub client: Option<Shown>,
    pub written: Written,
}

/// The certificate that a client has shown.
#[derive(Debug, Default)]
pub struct Shown {
    pub subject: Box<str>,
    /// Of all of it, in hexadecimal digits.
    pub sha256: Box<str>,
}

/// Members of lines that have been written.
#[derive(Debug, Default)]
pub struct Written {
    flat: OnceCell<Vec<u8>>,
    ecs: OnceCell<Vec<u8>>,
}

impl Session {
    /// Names of our own.
    pub(super) fn flat(&self) -> &[u8] {
        self.written.flat.get_or_init(|| {
            Object::only_members(|line| {
                line.word("tls_version", self.version);
                line.parts("tls_cipher", &self.cipher());
                line.some("tls_name", self.name.as_deref());
                line.bool("tls_resumed", self.resumed);
                if let Some(client) = &self.client {
                    line.some("tls_client_subject", Some(&*client.subject));
                    line.word("tls_client_sha256", &client.sha256);
                }
            })
        })
    }

    /// Those of the Elastic Common Schema, which wants hashes in capitals.
    pub(super) fn ecs(&self) -> &[u8] {
        self.written.ecs.get_or_init(|| {
            Object::only_members(|line| {
                line.word("tls.version_protocol", "tls");
                line.word("tls.version", self.version);
                line.parts("tls.cipher", &self.cipher());
                line.some("tls.client.server_name", self.name.as_deref());
                line.bool("tls.resumed", self.resumed);
                if let Some(client) = &self.client {
                    line.some("tls.client.subject", Some(&*client.subject));
                    let hash = client.sha256.to_ascii_uppercase();
                    line.word("tls.client.hash.sha256", &hash);
                }
            })
        })
    }

    fn cipher(&self) -> [&'static [u8]; 2] {
        match self.cipher.strip_prefix("TLS13_") {
            Some(rest) => [b"TLS_", rest.as_bytes()],
            None => [b"", self.cipher.as_bytes()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says_stays_within_its_string() {
        let session = Session {
            version: "1.3",
            cipher: "TLS13_AES_128_GCM_SHA256",
            name: Some("a.test".into()),
            client: Some(Shown {
                subject: "CN=\",\"status\":0\n\u{1b}[2J\u{202e}".into(),
                sha256: "0a".into(),
            }),
            ..Session::default()
        };
        let flat = "\"tls_version\":\"1.3\",\"tls_cipher\":\"TLS_AES_128_GCM_SHA256\",\"tls_name\":\"a.test\",\
            \"tls_resumed\":false,\"tls_client_subject\":\"CN=\\\",\\\"status\\\":0\\n\\u001b[2J\\u202e\",\
            \"tls_client_sha256\":\"0a\"";
        assert_eq!(std::str::from_utf8(session.flat()).unwrap(), flat);
        let ecs = std::str::from_utf8(session.ecs()).unwrap();
        let ecs: serde_json::Value = serde_json::from_str(&format!("{{{ecs}}}")).unwrap();
        assert_eq!(ecs["tls.client.hash.sha256"], "0A");
        assert_eq!(ecs["tls.client.server_name"], "a.test");
    }

    #[test]
    fn what_is_not_there_is_not_told() {
        let session = Session {
            version: "1.2",
            cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            resumed: true,
            ..Session::default()
        };
        let flat = "\"tls_version\":\"1.2\",\"tls_cipher\":\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\",\"tls_resumed\":true";
        assert_eq!(std::str::from_utf8(session.flat()).unwrap(), flat);
    }
}
