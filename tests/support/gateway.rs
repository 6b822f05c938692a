//! A gateway in this process: real sockets, one worker.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use transom::app::{App, Running};
use transom::config::{self, Syntax};
use transom::live::Live;
use transom::tls::{Material, Outgoing};

use super::protos;

/// A running gateway; dropping it stops it.
#[derive(Debug)]
pub struct Gateway {
    pub address: SocketAddr,
    pub running: Running,
}

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct Builder {
    config: Value,
    authority: Option<String>,
    variables: Vec<(String, String)>,
}

impl Gateway {
    /// All services of the tests on one upstream, `games`.
    pub fn builder(upstream: SocketAddr) -> Builder {
        Builder {
            authority: None,
            variables: Vec::new(),
            config: json!({
                "listeners": [{ "address": "127.0.0.1:0" }],
                "descriptors": [{ "protos": "tests/fixtures/proto" }],
                "upstreams": { "games": { "endpoints": [upstream.to_string()] } },
                "routes": [{ "services": ["gamehub.v1.*", "kinds.v1.*"], "upstream": "games" }],
            }),
        }
    }
}

impl Builder {
    /// Puts `value` at the top of the config.
    #[must_use]
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Sets a variable of its environment, which has no others.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// Over TLS: its upstreams' certificates are signed by an authority of this PEM text.
    #[must_use]
    pub fn believing(mut self, authority: &str) -> Self {
        self.authority = Some(authority.to_owned());
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn route(mut self, route: Value) -> Self {
        self.config["routes"]
            .as_array_mut()
            .expect("routes")
            .push(route);
        self
    }

    /// Adds an upstream.
    #[must_use]
    pub fn upstream(mut self, name: &str, upstream: Value) -> Self {
        self.config["upstreams"][name] = upstream;
        self
    }

    /// The generation alone, without a socket.
    pub fn live(&self) -> (config::model::Config, Live) {
        let text = self.config.to_string();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let environment = |name: &str| {
            let found = self.variables.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let loaded = config::parse("test.json", &text, Syntax::Json, folder, &environment)
            .unwrap_or_else(|report| panic!("{report:?}\n{text}"));
        let mut config = config::model::Config {
            workers: std::num::NonZeroUsize::new(1),
            ..loaded.config
        };
        if let Some(authority) = &self.authority {
            let material = Material {
                authorities: Some(authority.as_bytes()),
                own: None,
                name: None,
            };
            let outgoing = Arc::new(Outgoing::new(&material).expect("an authority"));
            for upstream in &mut config.upstreams {
                upstream.outgoing = Some(Arc::clone(&outgoing));
            }
        }
        let live = Live::build(&config, Arc::new(protos::schema()), &[])
            .unwrap_or_else(|errors| panic!("{errors:?}"));
        (config, live)
    }

    pub fn start(&self) -> Gateway {
        let (config, live) = self.live();
        let running = App::start(&config, live).expect("start");
        Gateway {
            address: running.addresses()[0],
            running,
        }
    }
}
