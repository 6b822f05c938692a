//! A grpcio server as the upstream: reflection (v1alpha, as Python has it) and, from it alone, routes.
#![cfg(feature = "peers")]

#[path = "support/peer.rs"]
mod peer;

use peer::Peer;
use transom::config::model::{Endpoint, Upstream, UpstreamProtocol};
use transom::control::reflection::{Budget, Reflected, fetch};

async fn reflect(peer: &Peer) -> Reflected {
    let upstream = Upstream {
        name: "games".into(),
        endpoints: vec![Endpoint {
            host: "127.0.0.1".into(),
            port: peer.port(),
        }],
        protocol: UpstreamProtocol::Http2,
        place: "test".into(),
    };
    let reflected = fetch(&upstream, &Budget::default()).await;
    reflected.expect("the peer's descriptors")
}

#[tokio::test]
async fn a_python_server_describes_itself() {
    let peer = Peer::python();
    let reflected = reflect(&peer).await;
    assert_eq!(
        reflected.services,
        [
            "gamehub.lobby.v1.Lobby",
            "gamehub.v1.Catalogue",
            "gamehub.v1.Scores"
        ]
    );
    assert_eq!(reflected.missing, []);
    assert_eq!(reflect(&peer).await, reflected, "the same bytes each time");
}
