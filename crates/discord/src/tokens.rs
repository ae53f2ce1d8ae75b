//! The tokens file: which token serves whom, and whose messages are records. Only its owner may read it.
//!
//! ```toml
//! guild = "1234567890"          # needed where a bot is in several
//!
//! [[token]]
//! token = "..."
//! server = true                 # the server bot's
//! workers = ["*"]               # also every main bot's that has none of its own
//!
//! [[author]]                    # further accounts that may post records, such as bots in other languages
//! id = "1234567891"
//! workers = ["nyc1"]
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::WorkerName;
use serde::Deserialize;

use crate::secret::Token;
use crate::snowflake::Snowflake;

/// Whom a token or an author speaks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// `"*"`: all.
    pub all: bool,
    pub named: Vec<WorkerName>,
}

impl Workers {
    pub fn all() -> Workers {
        Workers { all: true, named: Vec::new() }
    }

    pub fn include(&self, worker: &WorkerName) -> bool {
        self.all || self.named.contains(worker)
    }

    fn merge(&mut self, other: &Workers) {
        self.all |= other.all;
        self.named.extend(other.named.iter().filter(|name| !self.named.contains(name)).cloned().collect::<Vec<_>>());
    }
}

#[derive(Clone, Debug)]
pub struct TokenEntry {
    pub token: Token,
    pub server: bool,
    pub workers: Workers,
}

#[derive(Clone, Debug, Default)]
pub struct Tokens {
    pub entries: Vec<TokenEntry>,
    pub authors: BTreeMap<Snowflake, Workers>,
    pub guild: Option<Snowflake>,
}

/// The token a bot uses.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub token: Token,
    /// Other bots of the deployment use it as well.
    pub shared: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    #[error("cannot read the tokens file {}: {source} (make one with `netlat bot setup`)", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("others can read the tokens file {} (its mode is {mode:04o}): run chmod 600 {}", path.display(), path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("the tokens file {}, line {line}: {problem}", path.display())]
    Malformed { path: PathBuf, line: usize, problem: String },
    #[error("the tokens file names no token for {0}: add it to the `workers` of a [[token]], or \"*\" to one")]
    NoneFor(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileShape {
    guild: Option<String>,
    #[serde(default)]
    token: Vec<TokenShape>,
    #[serde(default)]
    author: Vec<AuthorShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenShape {
    token: String,
    #[serde(default)]
    server: bool,
    #[serde(default)]
    workers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorShape {
    id: String,
    workers: Vec<String>,
}

const LONGEST_FILE: u64 = 1 << 20;

impl Tokens {
    /// One token for everything.
    pub fn single(token: Token) -> Tokens {
        Tokens { entries: vec![TokenEntry { token, server: true, workers: Workers::all() }], ..Tokens::default() }
    }

    pub fn load(path: &Path) -> Result<Tokens, TokensError> {
        let unreadable = |source| TokensError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokensError::Open { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.take(LONGEST_FILE).read_to_string(&mut text).map_err(unreadable)?;
        Tokens::parse(&text).map_err(|(line, problem)| TokensError::Malformed { path: path.to_owned(), line, problem })
    }

    /// An error is a line and what is wrong there. It never quotes the file, which is full of secrets.
    pub fn parse(text: &str) -> Result<Tokens, (usize, String)> {
        let shape: FileShape = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let expected = "expected `guild`, [[token]] with token, server, workers, and [[author]] with id, workers";
            (line, expected.to_owned())
        })?;
        let line_of = |needle: &str| {
            text.lines().position(|line| !needle.is_empty() && line.contains(needle)).map_or(1, |line| line + 1)
        };
        let id = |text: &str| text.parse::<Snowflake>().map_err(|_| (line_of(text), "an id is a number".to_owned()));
        let mut tokens = Tokens { guild: shape.guild.as_deref().map(id).transpose()?, ..Tokens::default() };
        for entry in shape.token {
            let token = Token::new(&entry.token).map_err(|error| (line_of(&entry.token), error.to_string()))?;
            tokens.entries.push(TokenEntry { token, server: entry.server, workers: workers(&entry.workers, line_of)? });
        }
        for author in shape.author {
            let named = workers(&author.workers, line_of)?;
            tokens.authors.entry(id(&author.id)?).or_default().merge(&named);
        }
        match tokens.entries.iter().filter(|entry| entry.server).count() {
            _ if tokens.entries.is_empty() => Err((1, "there is no [[token]]".to_owned())),
            2.. => Err((1, "more than one [[token]] says server = true".to_owned())),
            _ => Ok(tokens),
        }
    }

    /// The one marked `server`, or the only one there is.
    pub fn for_server(&self) -> Result<Chosen, TokensError> {
        let marked = self.entries.iter().find(|entry| entry.server);
        let only = match self.entries.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        let entry = marked.or(only).ok_or_else(|| TokensError::NoneFor("the server bot (server = true)".to_owned()))?;
        let shared = entry.workers.all || !entry.workers.named.is_empty();
        Ok(Chosen { token: entry.token.clone(), shared })
    }

    /// The server bot's, or else the first: for what every bot may ask.
    pub fn any(&self) -> Result<Chosen, TokensError> {
        let first = self.entries.first().map(|entry| Chosen { token: entry.token.clone(), shared: false });
        self.for_server().or_else(|error| first.ok_or(error))
    }

    /// The one that names the worker, or else the one for all.
    pub fn for_worker(&self, worker: &WorkerName) -> Result<Chosen, TokensError> {
        let named = self.entries.iter().find(|entry| entry.workers.named.contains(worker));
        let entry = named
            .or_else(|| self.entries.iter().find(|entry| entry.workers.all))
            .ok_or_else(|| TokensError::NoneFor(format!("worker {worker}")))?;
        let shared = entry.server || entry.workers.all || entry.workers.named.len() > 1;
        Ok(Chosen { token: entry.token.clone(), shared })
    }

    /// Everyone whose messages may be records: the accounts of the tokens, and those listed. `own` is the account of the
    /// server's token, for tokens that do not tell theirs.
    pub fn known_authors(&self, own: Snowflake) -> BTreeMap<Snowflake, Workers> {
        let mut authors = self.authors.clone();
        for entry in &self.entries {
            let is_server = entry.server || self.entries.len() == 1;
            if let Some(id) = entry.token.user_id().or(is_server.then_some(own)) {
                authors.entry(id).or_default().merge(&entry.workers);
            }
        }
        authors
    }
}

fn workers(names: &[String], line_of: impl Fn(&str) -> usize) -> Result<Workers, (usize, String)> {
    let mut workers = Workers::default();
    for name in names {
        match name.as_str() {
            "*" => workers.all = true,
            name => workers.named.push(WorkerName::new(name).map_err(|error| (line_of(name), error.to_string()))?),
        }
    }
    Ok(workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    // First parts: base64 of 100, 200, 300.
    const TEXT: &str = r#"
guild = "77"
[[token]]
token = "MTAw.x.y"
server = true
[[token]]
token = "MjAw.x.y"
workers = ["nyc1"]
[[token]]
token = "MzAw.x.y"
workers = ["*"]
[[author]]
id = "400"
workers = ["ams1"]
"#;

    fn name(text: &str) -> WorkerName {
        WorkerName::new(text).unwrap()
    }

    #[test]
    fn each_bot_has_its_token_and_each_author_its_workers() {
        let tokens = Tokens::parse(TEXT).unwrap();
        assert_eq!(tokens.guild, Some(Snowflake(77)));
        let id = |chosen: Chosen| (chosen.token.user_id().unwrap().0, chosen.shared);
        assert_eq!(id(tokens.for_server().unwrap()), (100, false));
        assert_eq!(id(tokens.for_worker(&name("nyc1")).unwrap()), (200, false));
        assert_eq!(id(tokens.for_worker(&name("fra1")).unwrap()), (300, true));
        let authors = tokens.known_authors(Snowflake(1));
        let speaks = |id: u64, worker: &str| authors.get(&Snowflake(id)).is_some_and(|of| of.include(&name(worker)));
        assert!(speaks(200, "nyc1") && !speaks(200, "ams1") && speaks(300, "ams1") && speaks(400, "ams1"));
        assert!(!speaks(100, "nyc1") && !speaks(1, "nyc1"));
    }

    #[test]
    fn one_token_serves_all() {
        let tokens = Tokens::single(Token::new("anything").unwrap());
        assert!(tokens.for_server().unwrap().shared && tokens.for_worker(&name("x")).unwrap().shared);
        assert!(tokens.known_authors(Snowflake(5))[&Snowflake(5)].include(&name("x")));
    }

    #[test]
    fn a_mistake_names_its_line_and_no_secret() {
        for (text, line) in [
            ("[[token]]\ntoken = \"s3cret s3cret\"\n", 2),
            ("[[token]]\ntoken = \"s3cret\"\nworker = [\"s3cret\"]\n", 3),
            ("[[token]]\ntoken = \"s3cret\"\nworkers = [\"S3CRET\"]\n", 3),
            ("guild = s3cret\n", 1),
            ("guild = \"s3cret\"\n", 1),
            ("", 1),
        ] {
            let (found, problem) = Tokens::parse(text).unwrap_err();
            assert!(!problem.contains("s3cret"), "{problem}");
            assert_eq!(found, line, "{text}: {problem}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        std::fs::write(&path, TEXT).unwrap();
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o640);
        let error = Tokens::load(&path).unwrap_err().to_string();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
        set(0o600);
        assert_eq!(Tokens::load(&path).unwrap().entries.len(), 3);
        let missing = Tokens::load(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("netlat bot setup"), "{missing}");
    }
}
