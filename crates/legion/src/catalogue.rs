//! Which bots there are: their files, what they need, how they are installed and started.

use std::path::{Path, PathBuf};

/// A bot of the Legion.
#[derive(Debug)]
pub struct Kind {
    /// As its users write it, such as `discord.py`.
    pub library: &'static str,
    pub language: &'static str,
    /// Of its installation.
    pub directory: &'static str,
    /// Their path in `legion/`, and what is in them. They are installed side by side.
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) tools: Tools,
    /// Resident memory that such a bot was seen to need, in MiB; what is measured here takes its place.
    pub(crate) memory_mib: u64,
}

/// The ecosystem that installs and runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tools {
    /// A virtual environment from a lock file with hashes.
    Python,
    /// `npm ci`.
    Node,
    /// `go build`, which fetches what `go.sum` names.
    Go,
    /// Maven for the libraries, whose versions its file names exactly, and `javac`.
    Java,
}

macro_rules! files {
    ($($path:literal),+) => {
        &[$(($path, include_str!(concat!("../../../legion/", $path)))),+]
    };
}

pub const KINDS: &[Kind] = &[
    Kind {
        library: "discord.py",
        language: "python",
        directory: "discordpy",
        files: files!(
            "python/contract.py",
            "python/discordpy/bot.py",
            "python/discordpy/pyproject.toml",
            "python/discordpy/requirements.lock"
        ),
        tools: Tools::Python,
        memory_mib: 60,
    },
    Kind {
        library: "hikari",
        language: "python",
        directory: "hikari",
        files: files!(
            "python/contract.py",
            "python/hikari/bot.py",
            "python/hikari/pyproject.toml",
            "python/hikari/requirements.lock"
        ),
        tools: Tools::Python,
        memory_mib: 60,
    },
    Kind {
        library: "discord.js",
        language: "javascript",
        directory: "discordjs",
        files: files!(
            "javascript/contract.mjs",
            "javascript/discordjs/bot.mjs",
            "javascript/discordjs/package.json",
            "javascript/discordjs/package-lock.json"
        ),
        tools: Tools::Node,
        memory_mib: 110,
    },
    Kind {
        library: "oceanic",
        language: "javascript",
        directory: "oceanic",
        files: files!(
            "javascript/contract.mjs",
            "javascript/oceanic/bot.mjs",
            "javascript/oceanic/package.json",
            "javascript/oceanic/package-lock.json"
        ),
        tools: Tools::Node,
        memory_mib: 90,
    },
    Kind {
        library: "discordgo",
        language: "go",
        directory: "discordgo",
        files: files!("go/discordgo/bot.go", "go/discordgo/go.mod", "go/discordgo/go.sum"),
        tools: Tools::Go,
        memory_mib: 15,
    },
    Kind {
        library: "JDA",
        language: "java",
        directory: "jda",
        files: files!("java/jda/Bot.java", "java/jda/pom.xml"),
        tools: Tools::Java,
        memory_mib: 150,
    },
];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Legion has no bot called '{given}': it has {}", KINDS.iter().map(|kind| kind.library).collect::<Vec<_>>().join(", "))]
pub struct Unknown {
    given: String,
}

/// By its library's name.
pub fn named(library: &str) -> Result<&'static Kind, Unknown> {
    let found = KINDS.iter().find(|kind| kind.library.eq_ignore_ascii_case(library));
    found.ok_or_else(|| Unknown { given: library.chars().filter(|c| !c.is_control()).take(40).collect() })
}

impl Kind {
    /// Names in its directory, and what is in them.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.files.iter().map(|(path, text)| (path.rsplit_once('/').map_or(*path, |(_, name)| name), *text))
    }
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// What it is for, in words.
    pub what: &'static str,
}

fn invocation(what: &'static str, program: impl Into<PathBuf>, arguments: &[&str]) -> Invocation {
    Invocation { program: program.into(), arguments: arguments.iter().map(|text| (*text).to_owned()).collect(), what }
}

impl Tools {
    /// Asks the runtime for its version, and who has it.
    pub(crate) fn version(self) -> (Invocation, &'static str) {
        match self {
            Tools::Python => {
                (invocation("Python", "python3", &["--version"]), "install Python 3.10 or newer with its venv module")
            }
            Tools::Node => (invocation("Node.js", "node", &["--version"]), "install Node.js 18 or newer with npm"),
            Tools::Go => (invocation("Go", "go", &["version"]), "install Go 1.22 or newer"),
            Tools::Java => (invocation("Java", "java", &["-version"]), "install a JDK 17 or newer with Maven"),
        }
    }

    /// In the bot's directory, one after the other.
    pub(crate) fn steps(self) -> Vec<Invocation> {
        match self {
            Tools::Python => vec![
                invocation("making a virtual environment", "python3", &["-m", "venv", "--clear", "venv"]),
                invocation(
                    "installing from PyPI",
                    "venv/bin/python",
                    &[
                        "-m",
                        "pip",
                        "install",
                        "--disable-pip-version-check",
                        "--no-input",
                        "--require-hashes",
                        "-r",
                        "requirements.lock",
                    ],
                ),
            ],
            Tools::Node => vec![invocation(
                "installing from npm",
                "npm",
                &["ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"],
            )],
            Tools::Go => vec![invocation("building with modules", "go", &["build", "-trimpath", "-o", "bot", "."])],
            Tools::Java => vec![
                invocation(
                    "installing from Maven Central",
                    "mvn",
                    &[
                        "-B",
                        "-q",
                        "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
                        "-DoutputDirectory=lib",
                        "-DincludeScope=runtime",
                    ],
                ),
                invocation("compiling", "javac", &["-cp", "lib/*", "-d", "classes", "Bot.java"]),
            ],
        }
    }

    pub(crate) fn start(self, dir: &Path) -> Invocation {
        match self {
            // Unbuffered, and nothing written beside the bot.
            Tools::Python => invocation("", dir.join("venv/bin/python"), &["-u", "-B", "bot.py"]),
            Tools::Node => invocation("", "node", &["bot.mjs"]),
            Tools::Go => invocation("", dir.join("bot"), &[]),
            // A small heap and one collector's thread: it shares its host with what it measures beside.
            Tools::Java => invocation("", "java", &["-Xmx128m", "-XX:+UseSerialGC", "-cp", "lib/*:classes", "Bot"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_are_named_once_and_found_by_their_library() {
        for kind in KINDS {
            assert_eq!(named(kind.library).unwrap().directory, kind.directory);
            assert_eq!(KINDS.iter().filter(|other| other.directory == kind.directory).count(), 1);
            assert!(kind.files.iter().all(|(_, text)| !text.is_empty()));
        }
        let error = named("discord\u{7}.rb").unwrap_err().to_string();
        assert!(error.contains("'discord.rb'") && error.contains("discord.py, hikari"), "{error}");
    }
}
