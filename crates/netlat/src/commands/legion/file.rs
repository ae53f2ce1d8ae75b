//! `legion.toml`: which bots, and how often.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::config::xdg;

const FILE: &str = "legion.toml";

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LegionFile {
    /// Libraries; none: every one that is installed.
    pub bots: Option<Vec<String>>,
    /// Between two REST calls of a bot.
    pub interval_s: f64,
    /// Between two posts of a bot, each a message echo as well.
    pub post_s: f64,
    /// Between two bots' starts.
    pub stagger_s: f64,
    /// Of a group of bots, where not all fit into memory.
    pub turn_s: f64,
    /// What all together may take [default: four fifths of what the host has to give].
    pub memory_mib: Option<u64>,
}

impl Default for LegionFile {
    /// Far from any limit: of one token a channel takes five messages in five seconds, and Discord one identify in five.
    fn default() -> LegionFile {
        LegionFile { bots: None, interval_s: 30.0, post_s: 60.0, stagger_s: 6.0, turn_s: 600.0, memory_mib: None }
    }
}

impl LegionFile {
    /// Reads `explicit`, else `legion.toml` here, else in the XDG configuration directory, else nothing.
    pub fn load(explicit: Option<&Path>) -> anyhow::Result<LegionFile> {
        let path = match explicit {
            Some(path) => Some(path.to_owned()),
            None => {
                let usual = xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("netlat").join(FILE));
                [Some(PathBuf::from(FILE)), usual].into_iter().flatten().find(|path| path.is_file())
            }
        };
        let Some(path) = path else { return Ok(LegionFile::default()) };
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        LegionFile::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<LegionFile> {
        let file: LegionFile = toml::from_str(text)?;
        for (name, value, least, most) in [
            ("interval_s", file.interval_s, 0.05, 3600.0),
            ("post_s", file.post_s, 0.2, 3600.0),
            ("stagger_s", file.stagger_s, 0.0, 600.0),
            ("turn_s", file.turn_s, 1.0, 86_400.0),
        ] {
            ensure!((least..=most).contains(&value), "{name} is {value}: it must be from {least} to {most}");
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_usual_and_what_is_wrong_is_named() {
        assert_eq!(LegionFile::parse("").unwrap(), LegionFile::default());
        let file = LegionFile::parse("bots = [\"hikari\"]\ninterval_s = 2.5\n").unwrap();
        assert_eq!((file.bots.unwrap(), file.interval_s, file.post_s), (vec!["hikari".to_owned()], 2.5, 60.0));
        for (bad, word) in
            [("interval_s = 0.0", "interval_s"), ("bot = []", "unknown field"), ("post_s = nan", "post_s")]
        {
            let error = format!("{:#}", LegionFile::parse(bad).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
