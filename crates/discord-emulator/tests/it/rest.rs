//! REST over a plain HTTP client: status, codes, headers, permissions, limits.

use discord_emulator::Snowflake;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Scene;

pub struct Bot<'a> {
    pub scene: &'a Scene,
    client: Client,
    token: &'static str,
}

impl<'a> Bot<'a> {
    pub fn new(scene: &'a Scene, token: &'static str) -> Bot<'a> {
        Bot { scene, client: Client::new(), token }
    }

    pub async fn raw(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Response {
        let mut request = self.client.request(method, self.scene.api(path));
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bot {}", self.token));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("an answer")
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let answer = self.raw(method, path, body).await;
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }
}

#[tokio::test]
async fn who_is_not_known_is_refused_and_json_has_its_exact_type() {
    let scene = Scene::start().await;
    for token in ["", "wrong"] {
        let (status, body) = Bot::new(&scene, token).get("/users/@me").await;
        assert_eq!((status.as_u16(), &body["message"]), (401, &json!("401: Unauthorized")));
    }
    let bot = Bot::new(&scene, "reader-token");
    let answer = bot.raw(Method::GET, "/users/@me", None).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert!(answer.headers()["cf-ray"].to_str().unwrap().ends_with("-AMS"));
    assert_eq!(bot.get("/no/such/route").await.0, 404);
    let (status, body) = bot.get("/channels/not-a-number").await;
    assert_eq!((status.as_u16(), body["code"].as_u64()), (400, Some(50035)));
    assert_eq!(bot.ask(Method::DELETE, "/gateway", None).await.0, 405);
}

#[tokio::test]
async fn history_comes_in_pages_newest_first_and_bounds_are_exclusive() {
    let scene = Scene::with("[limits]\nrest = false").await;
    let bot = Bot::new(&scene, "reader-token");
    let ids: Vec<Snowflake> = (0..250)
        .map(|number| scene.handle.post(scene.alice, scene.general, &number.to_string()).expect("posted"))
        .collect();
    let channel = scene.general;
    let page = |query: String| {
        let bot = &bot;
        async move {
            let (status, body) = bot.get(&format!("/channels/{channel}/messages{query}")).await;
            assert_eq!(status, 200, "{body}");
            let content = |message: &Value| message["content"].as_str().unwrap().parse::<usize>().unwrap();
            body.as_array().unwrap().iter().map(content).collect::<Vec<_>>()
        }
    };
    assert_eq!(page(String::new()).await, (200..250).rev().collect::<Vec<_>>());
    assert_eq!(page(format!("?before={}&limit=3", ids[10])).await, [9, 8, 7]);
    assert_eq!(page(format!("?after={}&limit=3", ids[10])).await, [13, 12, 11]);
    assert_eq!(page(format!("?around={}&limit=4", ids[10])).await, [12, 11, 10, 9]);
    assert_eq!(page(format!("?before={}&limit=100", ids[0])).await, [0usize; 0]);
    for query in ["?limit=0", "?limit=101", "?limit=x", "?before=x"] {
        assert_eq!(bot.get(&format!("/channels/{channel}/messages{query}")).await.0, 400, "{query}");
    }
    // Every message once, by pages of any size.
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let part = page(format!("?limit=37{before}")).await;
        let Some(last) = part.last().copied() else { break };
        before = format!("&before={}", ids[last]);
        seen.extend(part);
    }
    assert_eq!(seen, (0..250).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn content_of_others_is_empty_without_the_intent() {
    let scene = Scene::start().await;
    let (reader, plain) = (Bot::new(&scene, "reader-token"), Bot::new(&scene, "plain-token"));
    let path = format!("/channels/{}/messages", scene.general);
    let (_, own) = plain.post(&path, json!({ "content": "own" })).await;
    assert_eq!(own["content"], "own");
    let plain_id = scene.handle.user("plain").unwrap();
    scene.handle.post(scene.alice, scene.general, "for all").unwrap();
    scene.handle.post(scene.alice, scene.general, &format!("for <@{plain_id}>")).unwrap();
    let embed = json!({ "content": "with", "embeds": [{ "title": "t" }] });
    reader.post(&path, embed).await;
    let contents = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    };
    let (_, list) = plain.get(&path).await;
    assert_eq!(contents(&list), ["", &format!("for <@{plain_id}>"), "", "own"]);
    assert_eq!(list[0]["embeds"], json!([]));
    let (_, list) = reader.get(&path).await;
    assert_eq!(contents(&list)[2..], ["for all", "own"]);
    assert_eq!(list[0]["embeds"][0]["title"], "t");
}

#[tokio::test]
async fn permissions_hold() {
    let scene = Scene::start().await;
    let (reader, plain) = (Bot::new(&scene, "reader-token"), Bot::new(&scene, "plain-token"));
    let channels = format!("/guilds/{}/channels", scene.guild);
    let (status, made) = reader.post(&channels, json!({ "name": "New York", "type": 0 })).await;
    assert_eq!((status.as_u16(), &made["name"]), (201, &json!("new-york")));
    let (status, body) = plain.post(&channels, json!({ "name": "x" })).await;
    assert_eq!((status.as_u16(), body["code"].as_u64()), (403, Some(50013)));

    let secret = scene.handle.channel(scene.guild, "secret").unwrap();
    let (status, body) = plain.post(&format!("/channels/{secret}/messages"), json!({ "content": "x" })).await;
    assert_eq!((status.as_u16(), body["code"].as_u64()), (403, Some(50001)));
    assert_eq!(plain.get(&format!("/channels/{secret}")).await.0, 403);

    let id = scene.handle.post(scene.alice, scene.general, "mine").unwrap();
    let message = format!("/channels/{}/messages/{id}", scene.general);
    let (status, body) = reader.ask(Method::PATCH, &message, Some(json!({ "content": "stolen" }))).await;
    assert_eq!((status.as_u16(), body["code"].as_u64()), (403, Some(50005)));
    assert_eq!(plain.ask(Method::DELETE, &message, None).await.1["code"], 50013);
    assert_eq!(reader.ask(Method::DELETE, &message, None).await.0, 204);
    assert_eq!(reader.get(&message).await.1["code"], 10008);

    let outside = scene.handle.create_bot("outside", "outside-token", 0);
    let stranger = Bot::new(&scene, "outside-token");
    assert_eq!(stranger.get(&format!("/guilds/{}", scene.guild)).await.1["code"], 10004);
    scene.handle.join_guild(scene.guild, outside);
    assert_eq!(stranger.get(&format!("/guilds/{}", scene.guild)).await.0, 200);
    assert_eq!(stranger.get(&format!("/guilds/{}/members", scene.guild)).await.1["code"], 50001, "needs GUILD_MEMBERS");
}

#[tokio::test]
async fn limits_answer_429_with_everything_a_library_needs() {
    let scene = Scene::start().await;
    let bot = Bot::new(&scene, "reader-token");
    let path = format!("/channels/{}/messages", scene.general);
    for left in (0..5).rev() {
        let answer = bot.raw(Method::POST, &path, Some(json!({ "content": "x" }))).await;
        assert_eq!(answer.headers()["x-ratelimit-remaining"], left.to_string().as_str());
        assert_eq!(answer.headers()["x-ratelimit-limit"], "5");
    }
    let answer = bot.raw(Method::POST, &path, Some(json!({ "content": "x" }))).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["x-ratelimit-scope"], "user");
    assert!(answer.headers().contains_key("retry-after") && !answer.headers().contains_key("x-ratelimit-global"));
    let body: Value = answer.json().await.unwrap();
    assert!(body["retry_after"].as_f64().unwrap() > 0.0 && body["global"] == false);
    assert_eq!(scene.handle.contents(scene.general).len(), 5);
    assert_eq!(bot.get(&path).await.0, 200, "reading has a bucket of its own");
}

#[tokio::test]
async fn too_many_bad_answers_ban_the_address() {
    let scene = Scene::with("[limits]\ninvalid_per_10_minutes = 5").await;
    let wrong = Bot::new(&scene, "wrong");
    for _ in 0..5 {
        assert_eq!(wrong.get("/users/@me").await.0, 401);
    }
    let answer = Bot::new(&scene, "reader-token").raw(Method::GET, "/users/@me", None).await;
    assert_eq!(answer.status(), 429);
    assert!(!answer.headers().contains_key("x-ratelimit-scope"), "it is the edge that answers");
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
}

#[tokio::test]
async fn garbage_is_refused_and_changes_nothing() {
    let scene = Scene::with("[limits]\nrest = false").await;
    let bot = Bot::new(&scene, "reader-token");
    let path = format!("/channels/{}/messages", scene.general);
    let bodies = [
        json!(null),
        json!([]),
        json!(1),
        json!({ "content": [] }),
        json!({ "content": "" }),
        json!({ "embeds": 3 }),
        json!({ "embeds": [3] }),
        json!({ "components": [{ "type": 1, "components": [] }] }),
        json!({ "message_reference": { "message_id": "5" }, "content": "x" }),
        json!({ "nonce": {}, "content": "x" }),
    ];
    for body in bodies {
        let (status, answer) = bot.post(&path, body.clone()).await;
        assert!(status.is_client_error(), "{body} gave {status} {answer}");
    }
    let raw = reqwest::Client::new()
        .post(scene.api(&path))
        .header("authorization", "Bot reader-token")
        .body("{not json")
        .send()
        .await
        .unwrap();
    assert_eq!(raw.json::<Value>().await.unwrap()["code"], 50109);
    let emoji = scene.handle.post(scene.alice, scene.general, "x").unwrap();
    let reaction = format!("{path}/{emoji}/reactions/abc/@me");
    assert_eq!(bot.ask(Method::PUT, &reaction, None).await.1["code"], 10014);
    assert_eq!(scene.handle.contents(scene.general).len(), 1);
}
