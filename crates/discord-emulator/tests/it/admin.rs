//! The admin port: what a test in another language does.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::Scene;

async fn ask(scene: &Scene, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let address = scene.emulator.addresses().admin.expect("configured");
    let mut request = Client::new().request(method, format!("http://{address}{path}"));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

#[tokio::test]
async fn acts_disturbs_and_tells() {
    let scene = Scene::with("[listen]\nadmin = '127.0.0.1:0'").await;
    let post = |path: &'static str, body: Value| ask(&scene, Method::POST, path, Some(body));
    let (status, made) =
        post("/messages", json!({ "user": "alice", "channel": "home/general", "content": "hi" })).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(scene.handle.contents(scene.general), ["hi"]);
    let edit = json!({ "user": "alice", "channel": "home/general", "message": made["id"], "content": "ho" });
    assert_eq!(ask(&scene, Method::PATCH, "/messages", Some(edit)).await.0, 200);
    assert_eq!(scene.handle.contents(scene.general), ["ho"]);
    let react = json!({ "user": "alice", "channel": "home/general", "message": made["id"], "emoji": "👍" });
    assert_eq!(post("/reactions", react).await.0, 200);

    // Wrong requests say what is wrong.
    let (status, body) =
        post("/messages", json!({ "user": "nobody", "channel": "home/general", "content": "x" })).await;
    assert_eq!((status, body["message"].as_str()), (400, Some("no user or bot is called nobody")));
    let (status, body) = post("/faults", json!({ "on": "dns", "effect": { "kind": "reconnect" } })).await;
    assert!(status == 400 && body["message"].as_str().unwrap().contains("Reconnect"), "{body}");
    assert_eq!(post("/faults", json!({ "on": "rest", "unknown": 1 })).await.0, 400);

    let rule =
        json!({ "on": "rest", "name": "broken", "route": "GET /gateway", "effect": { "kind": "status", "code": 503 } });
    assert_eq!(post("/faults", rule).await.0, 200);
    let url = scene.api("/gateway");
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 503);
    assert_eq!(ask(&scene, Method::GET, "/faults", None).await.1[0]["acted"], 1);
    assert_eq!(ask(&scene, Method::DELETE, "/faults/broken", None).await.1["removed"], 1);
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);

    assert_eq!(ask(&scene, Method::PUT, "/away", Some(json!({ "away": true }))).await.0, 200);
    assert!(reqwest::get(&url).await.is_err());
    assert_eq!(ask(&scene, Method::PUT, "/away", Some(json!({ "away": false }))).await.0, 200);
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 200);

    let (_, seen) = ask(&scene, Method::GET, "/exchanges?kind=rest", None).await;
    let statuses: Vec<u64> =
        seen["exchanges"].as_array().unwrap().iter().filter_map(|e| e["status"].as_u64()).collect();
    assert_eq!(statuses, [503, 200, 200]);
    let page = Client::new().get(format!("http://{}/state", scene.emulator.addresses().admin.unwrap()));
    assert_eq!(page.header("origin", "http://evil.example").send().await.unwrap().status(), 403);
}
