//! What can go wrong, in one line each: what failed, on what, and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A scenario file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("cannot read the scenario {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Not TOML, an unknown or missing key, or a value of the wrong type.
    #[error("{file}:{line}: {message}")]
    Syntax { file: String, line: usize, message: String },
    /// `place` is like `city 'nyc1', hop 2, policy 1`; `problem` names the key and says what to write.
    #[error("{file}: {place}: {problem}")]
    Invalid { file: String, place: String, problem: String },
}

/// A lab that cannot be built, entered or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("{}", missing_tools(.0))]
    MissingTools(Vec<MissingTool>),
    #[error(
        "the kernel refuses new namespaces to this user ({message}): look at sysctl {}",
        look_at.join(", ")
    )]
    NamespacesForbidden { message: String, look_at: Vec<String> },
    #[error("this process is not inside the lab's namespaces: call lab::enter() first thing in main()")]
    NotInside,
    #[error("cannot run {program}: {source}")]
    Spawn { program: String, source: io::Error },
    #[error("{program} failed while {doing}: {message}")]
    Command { program: String, doing: String, message: String },
    #[error("{program} did not end within {limit:?} while {doing}")]
    TimedOut { program: String, doing: String, limit: Duration },
    #[error("the relay of {city} did not start: {message}")]
    Relay { city: String, message: String },
    #[error("the scenario has no {0}")]
    NoSuchPlace(String),
}

/// A program the lab calls, and the Debian package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTool {
    pub program: &'static str,
    pub package: &'static str,
}

fn missing_tools(missing: &[MissingTool]) -> String {
    let programs: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let word = if packages.len() == 1 { "package" } else { "packages" };
    format!("{} not found: install the Debian {word} {}", programs.join(", "), packages.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tools_are_one_line_with_each_package_once() {
        let missing = vec![
            MissingTool { program: "ip", package: "iproute2" },
            MissingTool { program: "tc", package: "iproute2" },
            MissingTool { program: "nft", package: "nftables" },
        ];
        assert_eq!(
            LabError::MissingTools(missing).to_string(),
            "ip, tc, nft not found: install the Debian packages iproute2, nftables"
        );
    }
}
