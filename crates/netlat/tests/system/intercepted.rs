//! A middlebox that keeps every address and hop count, and still gives itself away: it answers handshakes in the server's place.

use std::time::Duration;

use model::{Direction, Kind, Report};

use crate::proxy::Proxy;
use crate::serving::{Reach, Server};
use crate::support::Scene;

/// Kinds whose path up is flagged, of those that were measured.
fn flagged(scene: &Scene, join: &str) -> Vec<(Kind, bool)> {
    let arguments = ["probe", "--join", join, "--kind", "rtp,http,tls", "--duration", "6", "--json"];
    let report: Report = serde_json::from_str(&scene.run(arguments).succeeded().stdout).expect("a report");
    let up = report.paths.iter().filter(|path| path.direction == Direction::Up).flat_map(|path| &path.remarking);
    let mut kinds: Vec<(Kind, bool)> =
        up.map(|marks| (marks.kind, marks.flags.iter().any(|flag| flag == "intercepted"))).collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn whoever_answers_handshakes_sooner_than_the_server_could_is_noticed() {
    let scene = Scene::new();
    let server = Server::start(&scene, Reach::V4);
    let far = Proxy::slow(server.ports, Duration::from_millis(20));
    let join = far.join(&server.fresh_join(&scene, false));
    assert_eq!(flagged(&scene, &join), [(Kind::Rtp, false), (Kind::Http, true), (Kind::Tls, true)]);
    // The server itself answers both.
    let join = server.fresh_join(&scene, false);
    assert_eq!(flagged(&scene, &join), [(Kind::Rtp, false), (Kind::Http, false), (Kind::Tls, false)]);
}
