//! Slash commands: registering, invoking as a user, one answer, three seconds, fifteen minutes.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::rest::Bot;
use crate::support::Scene;

async fn register(bot: &Bot<'_>, body: Value) -> String {
    let application = bot.get("/applications/@me").await.1["id"].as_str().unwrap().to_owned();
    let path = format!("/applications/{application}/guilds/{}/commands", bot.scene.guild);
    let (status, list) = bot.ask(Method::PUT, &path, Some(body)).await;
    assert_eq!(status, 200, "{list}");
    application
}

fn options(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[tokio::test]
async fn one_answer_and_no_more() {
    let scene = Scene::with("[limits]\nrest = false").await;
    let bot = Bot::new(&scene, "reader-token");
    let application = register(&bot, json!([{ "name": "status", "description": "d" }])).await;
    let id = scene.handle.invoke(scene.alice, scene.general, "status", Map::new()).expect("invoked");
    let token = scene.handle.interaction(id).unwrap().token;
    let nobody = Bot::new(&scene, "");
    let webhook = format!("/webhooks/{application}/{token}");
    assert_eq!(nobody.post(&webhook, json!({ "content": "early" })).await.1["code"], 10015);

    let callback = format!("/interactions/{id}/{token}/callback");
    assert_eq!(nobody.post(&format!("/interactions/{id}/guess/callback"), json!({ "type": 5 })).await.1["code"], 10062);
    assert_eq!(nobody.post(&callback, json!({ "type": 7, "data": {} })).await.0, 400, "only for components");
    assert_eq!(nobody.post(&callback, json!({ "type": 4, "data": { "content": "fine" } })).await.0, 204);
    let (status, body) = nobody.post(&callback, json!({ "type": 4, "data": { "content": "again" } })).await;
    assert_eq!((status.as_u16(), body["code"].as_u64()), (400, Some(40060)));

    assert_eq!(nobody.post(&webhook, json!({ "content": "more", "flags": 64 })).await.0, 200);
    let original = format!("{webhook}/messages/@original");
    let edited = nobody.ask(Method::PATCH, &original, Some(json!({ "content": "better" })));
    assert_eq!(edited.await.1["content"], "better");
    let view = scene.handle.interaction(id).unwrap();
    let seen: Vec<&str> = view.messages.iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!((view.answer, seen.as_slice()), (Some(4), ["better", "more"].as_slice()));
    assert_eq!(scene.handle.contents(scene.general), ["better"], "the ephemeral one is not in the channel");
}

#[tokio::test]
async fn late_is_unknown_and_tokens_end() {
    let scene = Scene::with("[limits]\nrest = false\ninteraction_answer_ms = 0\ninteraction_token_ms = 0").await;
    let bot = Bot::new(&scene, "reader-token");
    let application = register(&bot, json!([{ "name": "status", "description": "d" }])).await;
    let id = scene.handle.invoke(scene.alice, scene.general, "status", Map::new()).expect("invoked");
    let token = scene.handle.interaction(id).unwrap().token;
    let (status, body) = bot.post(&format!("/interactions/{id}/{token}/callback"), json!({ "type": 5 })).await;
    assert_eq!((status.as_u16(), body["code"].as_u64()), (404, Some(10062)));
    let (status, body) = bot.post(&format!("/webhooks/{application}/{token}"), json!({ "content": "x" })).await;
    assert_eq!((status.as_u16(), body["code"].as_u64()), (401, Some(50027)));
}

#[tokio::test]
async fn a_user_can_only_invoke_what_a_client_would_let_them() {
    let scene = Scene::with("[limits]\nrest = false").await;
    let bot = Bot::new(&scene, "reader-token");
    let board = json!([
        { "name": "task", "description": "d", "options": [
            { "type": 1, "name": "start", "description": "d", "options": [
                { "type": 3, "name": "name", "description": "d", "required": true,
                  "choices": [{ "name": "rtp", "value": "rtp" }] },
                { "type": 4, "name": "rate", "description": "d" }] }] },
        { "name": "admin", "description": "d", "default_member_permissions": "8" },
    ]);
    register(&bot, board).await;
    let bob = scene.handle.create_user("bob");
    let invoke = |user, command: &str, given: Value| scene.handle.invoke(user, scene.general, command, options(given));
    assert_eq!(invoke(bob, "task", json!({})).unwrap_err().code, 50001, "not in the guild");
    scene.handle.join_guild(scene.guild, bob);
    assert_eq!(invoke(bob, "admin", json!({})).unwrap_err().code, 50013);
    assert!(invoke(scene.alice, "admin", json!({})).is_ok(), "the owner may");
    assert_eq!(invoke(bob, "none", json!({})).unwrap_err().code, 10063);
    assert!(invoke(bob, "task", json!({})).is_err(), "a subcommand is needed");
    assert!(invoke(bob, "task", json!({ "start": {} })).is_err(), "name is required");
    assert!(invoke(bob, "task", json!({ "start": { "name": "other" } })).is_err(), "no such choice");
    assert!(invoke(bob, "task", json!({ "start": { "name": "rtp", "rate": "x" } })).is_err());
    let id = invoke(bob, "task", json!({ "start": { "name": "rtp", "rate": 5 } })).expect("right");
    scene.handle.with_world(|world| assert_eq!(world.interactions[&id].name, "task start"));
}

#[tokio::test]
async fn bulk_overwrite_keeps_ids_of_what_stays() {
    let scene = Scene::with("[limits]\nrest = false").await;
    let bot = Bot::new(&scene, "reader-token");
    let application =
        register(&bot, json!([{ "name": "a", "description": "d" }, { "name": "b", "description": "d" }])).await;
    let path = format!("/applications/{application}/guilds/{}/commands", scene.guild);
    let before = bot.get(&path).await.1;
    register(&bot, json!([{ "name": "b", "description": "new" }, { "name": "c", "description": "d" }])).await;
    let after = bot.get(&path).await.1;
    let id = |list: &Value, name: &str| {
        list.as_array().unwrap().iter().find(|command| command["name"] == name).map(|command| command["id"].clone())
    };
    assert_eq!(id(&before, "b"), id(&after, "b"));
    assert_eq!(id(&after, "a"), None);
    let twice = json!([{ "name": "x", "description": "d" }, { "name": "x", "description": "d" }]);
    assert_eq!(bot.ask(Method::PUT, &path, Some(twice)).await.0, 400);
    assert_eq!(bot.get(&path).await.1, after, "a refused overwrite changes nothing");
    let others = format!("/applications/{}/commands", scene.handle.user("plain").unwrap());
    assert_eq!(bot.get(&others).await.1["code"], 50001);
}
