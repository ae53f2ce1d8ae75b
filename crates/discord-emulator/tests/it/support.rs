//! A small Discord for tests: one guild with text and voice channels, a user, and two bots.

use discord_emulator::testing::Home;
use discord_emulator::{Emulator, Handle, Snowflake};

pub use discord_emulator::testing::bounded;

pub const CONFIG: &str = r#"
[gateway]
heartbeat_interval_ms = 2000

[limits]
identify_window_ms = 0

[[application]]
name = "reader"
token = "reader-token"
intents = ["MESSAGE_CONTENT", "GUILD_MEMBERS"]

[[application]]
name = "plain"
token = "plain-token"

[[user]]
name = "alice"

[[guild]]
name = "home"
owner = "alice"

[[guild.member]]
name = "reader"
permissions = ["MANAGE_CHANNELS", "MANAGE_MESSAGES", "MANAGE_ROLES"]

[[guild.member]]
name = "plain"

[[guild.channel]]
name = "general"

[[guild.channel]]
name = "secret"

[[guild.channel.overwrite]]
target = "plain"
deny = ["VIEW_CHANNEL"]

[[guild.channel]]
name = "Lounge"
kind = "voice"
"#;

pub struct Scene {
    pub emulator: Emulator,
    pub handle: Handle,
    pub guild: Snowflake,
    pub general: Snowflake,
    pub alice: Snowflake,
}

impl Scene {
    pub async fn start() -> Scene {
        Scene::with("").await
    }

    /// The scene with further or other fields.
    pub async fn with(extra: &str) -> Scene {
        let mut config: toml::Table = toml::from_str(CONFIG).expect("TOML");
        for (section, fields) in toml::from_str::<toml::Table>(extra).expect("TOML") {
            let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
            match (section, fields) {
                (toml::Value::Table(section), toml::Value::Table(fields)) => section.extend(fields),
                (section, fields) => *section = fields,
            }
        }
        Scene::of(&toml::to_string(&config).expect("TOML")).await
    }

    pub async fn of(text: &str) -> Scene {
        // reqwest makes no client without one, TLS or not; the second to install it is refused, which is well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Home { emulator, handle, guild, alice } = Home::start(text).await;
        let general = handle.channel(guild, "general").expect("configured");
        Scene { emulator, handle, guild, general, alice }
    }

    pub fn host(&self) -> String {
        self.emulator.host()
    }

    pub fn api(&self, path: &str) -> String {
        format!("http://{}/api/v10{path}", self.host())
    }
}
