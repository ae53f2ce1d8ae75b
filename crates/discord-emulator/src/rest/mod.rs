//! The HTTP API, versions 9 and 10: routes, and how bodies are read. What routes do is in `state`.

mod body;
mod channels;
mod commands;
mod delivery;
mod guilds;
mod interactions;
mod layer;
mod limit;
mod messages;
mod service;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, delete, get, patch, post, put};

pub use layer::{Answer, Asked, Caller, Done, Subject};
pub use limit::Limiter;

use crate::hub::Hub;
use crate::state::Refusal;

/// Largest request, with all of its files (reference, "Uploading Files"); one file has a limit of its own.
const REQUEST: usize = 25 << 20;

/// REST under `/api`, `/api/v9` and `/api/v10`; files at `/attachments`.
pub fn router(hub: Arc<Hub>) -> Router<Arc<Hub>> {
    Router::new()
        .nest("/api", routes())
        .nest("/api/v9", routes())
        .nest("/api/v10", routes())
        .route("/attachments/{channel_id}/{attachment_id}/{filename}", get(service::file))
        .fallback(|| async { Refusal::NOT_FOUND })
        .layer(DefaultBodyLimit::max(REQUEST))
        .layer(axum::middleware::from_fn_with_state(hub, layer::layer))
}

fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/gateway", get(service::gateway))
        .route("/gateway/bot", get(service::gateway_bot))
        .route("/voice/regions", get(service::regions))
        .route("/soundboard-default-sounds", get(service::soundboard))
        .route("/sticker-packs", get(service::sticker_packs))
        .route("/applications/@me", get(users::application).patch(users::application))
        .route("/oauth2/applications/@me", get(users::application))
        .merge(of_users())
        .merge(of_guilds())
        .merge(of_channels())
        .merge(of_commands())
        .route("/interactions/{interaction_id}/{interaction_token}/callback", post(interactions::callback))
        .route("/webhooks/{webhook_id}/{webhook_token}", post(interactions::follow_up).get(interactions::webhook))
        .route(
            "/webhooks/{webhook_id}/{webhook_token}/messages/{message_id}",
            get(interactions::get_answer).patch(interactions::edit_answer).delete(interactions::delete_answer),
        )
        .route("/{*unknown}", any(|| async { Refusal::NOT_FOUND }))
}

fn of_users() -> Router<Arc<Hub>> {
    Router::new()
        .route("/users/@me", get(users::me).patch(users::rename))
        .route("/users/@me/guilds", get(users::guilds))
        .route("/users/@me/guilds/{guild_id}", delete(users::leave))
        .route("/users/@me/channels", post(users::direct_channel))
        .route("/users/{user_id}", get(users::user))
}

fn of_guilds() -> Router<Arc<Hub>> {
    Router::new()
        .route("/guilds/{guild_id}", get(guilds::get).patch(guilds::edit))
        .route(
            "/guilds/{guild_id}/channels",
            get(guilds::channels).post(guilds::create_channel).patch(guilds::move_channels),
        )
        .route("/guilds/{guild_id}/members", get(guilds::members))
        .route("/guilds/{guild_id}/members/search", get(guilds::search_members))
        .route("/guilds/{guild_id}/members/@me", patch(guilds::edit_self))
        .route(
            "/guilds/{guild_id}/members/{user_id}",
            get(guilds::member).patch(guilds::edit_member).delete(guilds::kick).put(guilds::add_member),
        )
        .route("/guilds/{guild_id}/members/{user_id}/roles/{role_id}", put(guilds::give_role).delete(guilds::take_role))
        .route("/guilds/{guild_id}/roles", get(guilds::roles).post(guilds::create_role).patch(guilds::move_roles))
        .route(
            "/guilds/{guild_id}/roles/{role_id}",
            get(guilds::role).patch(guilds::edit_role).delete(guilds::delete_role),
        )
        .route("/guilds/{guild_id}/voice-states/{user_id}", get(guilds::voice_state))
        .route("/guilds/{guild_id}/emojis", get(guilds::nothing))
        .route("/guilds/{guild_id}/stickers", get(guilds::nothing))
        .route("/guilds/{guild_id}/webhooks", get(guilds::nothing))
        .route("/guilds/{guild_id}/regions", get(service::regions))
}

fn of_channels() -> Router<Arc<Hub>> {
    let message = "/channels/{channel_id}/messages/{message_id}";
    let reaction = format!("{message}/reactions/{{emoji_name}}");
    Router::new()
        .route("/channels/{channel_id}", get(channels::get).patch(channels::edit).delete(channels::delete))
        .route("/channels/{channel_id}/typing", post(channels::typing))
        .route(
            "/channels/{channel_id}/permissions/{overwrite_id}",
            put(channels::set_overwrite).delete(channels::delete_overwrite),
        )
        .route("/channels/{channel_id}/messages", get(messages::list).post(messages::post))
        .route("/channels/{channel_id}/messages/bulk-delete", post(messages::bulk_delete))
        .route(message, get(messages::get).patch(messages::edit).delete(messages::delete))
        .route(&format!("{message}/reactions"), delete(messages::clear_reactions))
        .route(&reaction, get(messages::reactors))
        .route(&format!("{reaction}/@me"), put(messages::react).delete(messages::unreact_own))
        .route(&format!("{reaction}/{{user_id}}"), delete(messages::unreact))
}

fn of_commands() -> Router<Arc<Hub>> {
    let global = "/applications/{application_id}/commands";
    let guild = "/applications/{application_id}/guilds/{guild_id}/commands";
    Router::new()
        .route(global, get(commands::list).post(commands::create).put(commands::overwrite))
        .route(&format!("{global}/{{command_id}}"), get(commands::get).patch(commands::edit).delete(commands::delete))
        .route(guild, get(commands::list_guild).post(commands::create_guild).put(commands::overwrite_guild))
        .route(
            &format!("{guild}/{{command_id}}"),
            get(commands::get_guild).patch(commands::edit_guild).delete(commands::delete_guild),
        )
}
