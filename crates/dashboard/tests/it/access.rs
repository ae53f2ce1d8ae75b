//! Who gets in, with which rights, and what a foreign page cannot do.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use dashboard::{Entrance, Role};

use crate::support::{ADMIN, Reply, Site};

const TASK: &str = r#"{"id":"t1","spec":{"kinds":["rtp"],"dscp":[0,46]}}"#;

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_owned())).expect("a request")
}

async fn login(site: &Site, entrance: Entrance, token: &str) -> Reply {
    let body = format!("{{\"token\":\"{token}\"}}");
    site.send(entrance, request("POST", "/api/v1/view/login", &[("host", "localhost")], &body)).await
}

fn cookie(reply: &Reply) -> String {
    reply.header(header::SET_COOKIE).split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn without_a_login_https_shows_no_data_and_loopback_does() {
    let site = Site::new();
    for path in ["state", "cities", "workers", "events", "samples?worker=nyc1&format=csv"] {
        let path = format!("/api/v1/view/{path}");
        let reply = site.send(Entrance::Tls, request("GET", &path, &[], "")).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(reply.json()["error"], "login");
    }
    assert_eq!(site.send(Entrance::Tls, request("GET", "/metrics", &[], "")).await.status, StatusCode::UNAUTHORIZED);
    // The pages themselves hold no data.
    assert_eq!(site.send(Entrance::Tls, request("GET", "/", &[], "")).await.status, StatusCode::OK);
    assert_eq!(site.get("/api/v1/view/state").await.json()["role"], "viewer");
}

#[tokio::test]
async fn a_login_sets_a_cookie_that_scripts_and_other_sites_do_not_get() {
    let site = Site::new();
    let token = site.gate.issue(Role::Viewer, net::Clock::identity().now()).unwrap();
    let reply = login(&site, Entrance::Tls, &token).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    let set = reply.header(header::SET_COOKIE).to_owned();
    for attribute in ["__Host-netlat=", "; Path=/", "; HttpOnly", "; SameSite=Strict", "; Secure", "; Max-Age="] {
        assert!(set.contains(attribute), "{attribute} in {set}");
    }
    let cookie = cookie(&reply);
    let reply = site.send(Entrance::Tls, request("GET", "/api/v1/view/state", &[("cookie", &cookie)], "")).await;
    assert_eq!(reply.json()["role"], "viewer");
    // Once.
    assert_eq!(login(&site, Entrance::Tls, &token).await.status, StatusCode::UNAUTHORIZED);
    // Another name on plain HTTP, where Secure is impossible.
    let token = site.gate.issue(Role::Viewer, net::Clock::identity().now()).unwrap();
    let set = login(&site, Entrance::Loopback, &token).await.header(header::SET_COOKIE).to_owned();
    assert!(set.starts_with("netlat=") && set.contains("HttpOnly") && !set.contains("Secure"), "{set}");
}

#[tokio::test]
async fn a_viewer_looks_and_only_an_admin_acts() {
    let site = Site::new();
    let token = site.gate.issue(Role::Viewer, net::Clock::identity().now()).unwrap();
    let viewer = cookie(&login(&site, Entrance::Tls, &token).await);
    let by = |cookie: &str| [("cookie", cookie.to_owned())];
    let send = async |method: &str, path: &str, cookie: &str| {
        let headers = by(cookie);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        site.send(Entrance::Tls, request(method, path, &headers, TASK)).await
    };
    assert_eq!(send("POST", "/api/v1/view/tasks", &viewer).await.status, StatusCode::FORBIDDEN);
    assert_eq!(send("DELETE", "/api/v1/view/tasks/t1", &viewer).await.status, StatusCode::FORBIDDEN);
    assert_eq!(send("POST", "/api/v1/view/tasks", "").await.status, StatusCode::UNAUTHORIZED);
    assert!(site.tasks.0.lock().unwrap().is_empty());
    let forged = viewer.replace("viewer", "admin");
    assert_eq!(send("POST", "/api/v1/view/tasks", &forged).await.status, StatusCode::UNAUTHORIZED);

    let admin = cookie(&login(&site, Entrance::Tls, ADMIN).await);
    let started = send("POST", "/api/v1/view/tasks", &admin).await;
    assert_eq!((started.status, started.json()["id"].as_str()), (StatusCode::CREATED, Some("t1")));
    assert_eq!(send("DELETE", "/api/v1/view/tasks/t1", &admin).await.status, StatusCode::NO_CONTENT);
    assert_eq!(send("DELETE", "/api/v1/view/tasks/t1", &admin).await.status, StatusCode::NOT_FOUND);
    // On loopback everybody looks; acting takes the login as well.
    let local = site.send(Entrance::Loopback, request("POST", "/api/v1/view/tasks", &[("host", "localhost")], TASK));
    assert_eq!(local.await.status, StatusCode::FORBIDDEN);
    let bearer = format!("Bearer {ADMIN}");
    let script = request("GET", "/metrics", &[("authorization", &bearer)], "");
    assert_eq!(site.send(Entrance::Tls, script).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_workers_and_admins_apis_are_not_here() {
    let site = Site::new();
    for path in ["/api/v1/tasks", "/api/v1/upload", "/api/v1/enroll", "/api/v1/admin/join", "/api/v1/admin/status"] {
        assert_eq!(site.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn another_sites_page_gets_nothing_done() {
    let site = Site::new();
    // DNS rebinding: a foreign name that points to this host.
    let rebound = request("GET", "/api/v1/view/state", &[("host", "evil.example:8080")], "");
    assert_eq!(site.send(Entrance::Loopback, rebound).await.status, StatusCode::MISDIRECTED_REQUEST);
    let nameless = request("GET", "/api/v1/view/state", &[], "");
    assert_eq!(site.send(Entrance::Loopback, nameless).await.status, StatusCode::MISDIRECTED_REQUEST);
    let admin = cookie(&login(&site, Entrance::Loopback, ADMIN).await);
    let cross = [("host", "localhost"), ("cookie", admin.as_str()), ("sec-fetch-site", "cross-site")];
    let reply = site.send(Entrance::Loopback, request("POST", "/api/v1/view/tasks", &cross, TASK)).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    // A form of another site can send no JSON.
    let form = Request::post("/api/v1/view/tasks").header("host", "localhost").header("cookie", &admin);
    let form = form.header(header::CONTENT_TYPE, "text/plain").body(Body::from(TASK)).unwrap();
    assert_eq!(site.send(Entrance::Loopback, form).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let own = [("host", "localhost"), ("cookie", admin.as_str()), ("sec-fetch-site", "same-origin")];
    let reply = site.send(Entrance::Loopback, request("POST", "/api/v1/view/tasks", &own, TASK)).await;
    assert_eq!(reply.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_task_that_makes_no_sense_is_named() {
    let site = Site::new();
    let bearer = format!("Bearer {ADMIN}");
    for (body, word) in
        [(r#"{"spec":{"rate_pps":0}}"#, "rate"), (r#"{"id":"a b"}"#, "id"), (r#"{"id":"","spec":{}}"#, "id")]
    {
        let reply =
            site.send(Entrance::Tls, request("POST", "/api/v1/view/tasks", &[("authorization", &bearer)], body)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(reply.json()["message"].as_str().unwrap().contains(word), "{body}: {}", reply.text());
    }
}
