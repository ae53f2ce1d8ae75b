//! Scenarios in the lab: the real program between network namespaces, against the kernel's own policers, shapers and drops.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use measure::shaping::combine::Verdicts;
use model::report::Report;

use crate::check::check;
use crate::scenario::Scenario;

const NETLAT: &str = env!("CARGO_BIN_EXE_netlat");
/// Characters of what was said, in a line of the table.
const SAID: usize = 90;
/// Of one lab with all of its cities.
const LAB_SECONDS: u32 = 1_800;

/// Runs every kernel scenario, one lab after the other; one line for each that is not called what it is.
pub fn scenarios(scenarios: &[Scenario]) -> Vec<String> {
    let mut labs: BTreeMap<&str, Vec<&Scenario>> = BTreeMap::new();
    for scenario in scenarios {
        if let Some(kernel) = &scenario.kernel {
            labs.entry(&kernel.lab).or_default().push(scenario);
        }
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["kernel scenario", "right", "rate off", "burst off", "pairs", "said"]);
    let mut missed = Vec::new();
    for (lab, scenarios) in labs {
        let dir = tempfile::tempdir().expect("a directory for reports");
        let ran = run(lab, &scenarios, dir.path());
        for scenario in scenarios {
            let report = ran.clone().and_then(|()| read(&report_file(dir.path(), scenario)));
            match report.and_then(|report| verdicts(&report, scenario)) {
                Ok((verdicts, pairs)) => {
                    let checked = check(scenario, &verdicts);
                    if !checked.right {
                        missed.push(format!("{}: {}", scenario.name, checked.said));
                    }
                    let percent =
                        |error: Option<f64>| error.map_or(String::new(), |error| format!("{:.2} %", error * 100.0));
                    table.add_row([
                        scenario.name.clone(),
                        if checked.right { "yes" } else { "NO" }.to_owned(),
                        percent(checked.rate_error),
                        percent(checked.burst_error),
                        pairs.to_string(),
                        checked.said.chars().take(SAID).collect(),
                    ]);
                }
                Err(message) => missed.push(format!("{}: {message}", scenario.name)),
            }
        }
    }
    println!("{table}");
    missed
}

fn report_file(dir: &Path, scenario: &Scenario) -> PathBuf {
    dir.join(format!("{}.json", scenario.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")))
}

/// A server and every scenario's probe, one after the other, inside the lab; all of it vanishes with the script.
fn run(lab: &str, scenarios: &[&Scenario], dir: &Path) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = Command::new(env!("CARGO"))
        .args(["build", "-q", "--locked", "-p", "lab", "--bins", "--example", "lab-probe", "--message-format", "json"])
        .current_dir(&root)
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let messages = String::from_utf8_lossy(&built.stdout);
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let program = artifacts
        .filter(|message| message["target"]["name"] == "lab-probe")
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .ok_or_else(|| format!("lab-probe was not built: {}", String::from_utf8_lossy(&built.stderr)))?;
    let mut script = String::from(
        r#"set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$dir"' EXIT
at() { local place=$1; shift; nsenter --net="/run/netns/$place" -- "$@"; }
at server "$NETLAT" server --data-dir "$dir/server" --advertise 10.77.0.1 --trigger-port 443 --join-file "$dir/join" 2>"$dir/server.log" &
for _ in $(seq 100); do [ -s "$dir/server/server.json" ] && break; sleep 0.1; done
probe() {
    local city=$1 file=$2; shift 2
    at "$city" timeout 180 "$NETLAT" probe --join "@$dir/join" --name "$city" --family 4 --shaping --json "$@" >"$file" 2>"$file.log" || { echo "$city: $(tail -n 2 "$file.log")" >&2; }
}
"#,
    );
    for scenario in scenarios {
        let Some(kernel) = &scenario.kernel else { continue };
        let file = report_file(dir, scenario);
        script += &format!(
            "probe {} {} --direction {} {}\n",
            kernel.city,
            file.display(),
            kernel.direction,
            kernel.arguments.join(" ")
        );
    }
    let file = dir.join("in-lab.sh");
    std::fs::write(&file, script).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let output = Command::new("timeout")
        .args([&LAB_SECONDS.to_string(), &program, "run"])
        .arg(root.join("crates/lab/scenarios").join(lab))
        .args(["server", "bash"])
        .arg(&file)
        .env("NETLAT", NETLAT)
        .output()
        .map_err(|error| format!("cannot start the lab: {error}"))?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(format!("the lab {lab} ended with {}", output.status)) }
}

fn read(file: &Path) -> Result<Report, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("no report: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("no report: {error}"))
}

/// The direction's verdicts and the pairs they are from.
fn verdicts(report: &Report, scenario: &Scenario) -> Result<(Verdicts, u64), String> {
    let wanted = scenario.kernel.as_ref().map(|kernel| kernel.direction.as_str());
    let path = report
        .paths
        .iter()
        .find(|path| Some(path.direction.name()) == wanted)
        .ok_or("the report has no such direction")?;
    let verdicts = Verdicts { differentiation: path.differentiation.clone(), rate_limit: path.rate_limit.clone() };
    Ok((verdicts, path.differentiation.iter().map(|entry| entry.pairs).sum()))
}
