//! twilight, as our own bots use it, unmodified: logs in, reads, writes, reconnects.

use twilight_gateway::{ConfigBuilder, Event, EventTypeFlags, Intents, Shard, ShardId, StreamExt};
use twilight_http::Client;
use twilight_model::id::Id;

use crate::support::{Scene, bounded};

pub fn client(scene: &Scene, token: &str) -> Client {
    Client::builder().token(token.to_owned()).proxy(scene.host(), true).ratelimiter(None).build()
}

pub fn shard(scene: &Scene, token: &str, intents: Intents) -> Shard {
    let config = ConfigBuilder::new(token.to_owned(), intents).proxy_url(format!("ws://{}", scene.host())).build();
    Shard::with_config(ShardId::ONE, config)
}

pub async fn until<T>(shard: &mut Shard, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    bounded(what, async {
        loop {
            let event = shard.next_event(EventTypeFlags::all()).await.expect("the stream goes on").expect("decodes");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    })
    .await
}

#[tokio::test]
async fn logs_in_and_exchanges_messages() {
    let scene = Scene::start().await;
    let intents = Intents::GUILDS | Intents::GUILD_MESSAGES | Intents::MESSAGE_CONTENT;
    let mut shard = shard(&scene, "reader-token", intents);
    let guild = until(&mut shard, "GUILD_CREATE", |event| match event {
        Event::GuildCreate(guild) => Some(guild.id()),
        _ => None,
    })
    .await;
    assert_eq!(guild.get(), scene.guild.0);

    let http = client(&scene, "reader-token");
    let channel = Id::new(scene.general.0);
    let sent = http.create_message(channel).content("hello").await.expect("posted").model().await.expect("decodes");
    let echoed = until(&mut shard, "own message", |event| match event {
        Event::MessageCreate(message) => Some(message.message.clone()),
        _ => None,
    })
    .await;
    assert_eq!((echoed.id, echoed.content.as_str()), (sent.id, "hello"));

    scene.handle.post(scene.alice, scene.general, "hi bot").expect("alice may write");
    let heard = until(&mut shard, "alice's message", |event| match event {
        Event::MessageCreate(message) => Some(message.message.clone()),
        _ => None,
    })
    .await;
    assert_eq!(heard.content, "hi bot");
    let page = http.channel_messages(channel).await.expect("read").models().await.expect("decodes");
    let contents: Vec<&str> = page.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(contents, ["hi bot", "hello"]);
}
