//! Files, headers, compression, news.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use dashboard::Entrance;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::support::Site;

#[tokio::test]
async fn every_answer_keeps_to_itself() {
    let site = Site::new();
    for path in ["/", "/app.js", "/api/v1/view/state", "/nothing", "/api/v1/view/nothing"] {
        let reply = site.get(path).await;
        let policy = reply.header(header::CONTENT_SECURITY_POLICY).to_owned();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert!(!policy.contains("http"), "nothing from elsewhere: {policy}");
        assert_eq!(reply.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(reply.header(header::REFERRER_POLICY), "no-referrer", "{path}");
    }
}

#[tokio::test]
async fn files_are_asked_for_again_and_sent_once() {
    let site = Site::new();
    let page = site.get("/").await;
    assert!(page.text().contains("app.js"), "{}", page.text());
    // With `script-src 'self'` an inline script or style would be dead.
    assert!(!page.text().contains("<style") && !page.text().contains("<script>"), "{}", page.text());
    let script = site.get("/app.js").await;
    assert_eq!(script.header(header::CONTENT_TYPE), "text/javascript; charset=utf-8");
    assert_eq!(script.header(header::CACHE_CONTROL), "no-cache");
    let tag = script.header(header::ETAG).to_owned();
    let again = Request::get("/app.js").header("host", "localhost").header(header::IF_NONE_MATCH, &tag);
    let again = site.send(Entrance::Loopback, again.body(Body::empty()).unwrap()).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(site.get("/..%2fCargo.toml").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_first_page_is_small() {
    let site = Site::new();
    let mut bytes = 0;
    for path in ["/", "/app.js", "/app.css", "/map.js"] {
        let request = Request::get(path).header("host", "localhost").header(header::ACCEPT_ENCODING, "br, gzip");
        let reply = site.send(Entrance::Loopback, request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        if path != "/" {
            assert_eq!(reply.header(header::CONTENT_ENCODING), "gzip", "{path}");
        }
        bytes += reply.body.len();
    }
    assert!(bytes < 150_000, "{bytes} bytes");
}

#[tokio::test]
async fn news_come_as_events_and_end_with_the_program() {
    let site = Site::new();
    let request = Request::get("/api/v1/view/events").header("host", "localhost").body(Body::empty()).unwrap();
    let response = site.router(Entrance::Loopback).oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"event: data\ndata: {\"now\":"), "{first:?}");
    site.stop.send(true).unwrap();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
}

#[tokio::test]
async fn an_empty_directory_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    drop(store::Store::open(dir.path(), store::StoreOptions::default()).unwrap());
    let site = Site::over(dir.path());
    let state = site.get("/api/v1/view/state").await.json();
    assert_eq!((state["first"].is_null(), state["workers"].as_array().map(Vec::len)), (true, Some(0)));
    for path in ["cities", "workers", "verdicts", "applications", "classes?worker=nyc1", "media?worker=nyc1"] {
        let reply = site.get(&format!("/api/v1/view/{path}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text());
    }
    assert!(site.get("/metrics").await.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn data_that_cannot_be_read_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let reply = Site::over(dir.path()).get("/api/v1/view/state").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    // No path of the server's host is told.
    assert!(!reply.text().contains(dir.path().to_str().unwrap()), "{}", reply.text());
}
