//! The programs that a demo runs, their logs, and their end.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// Programs of the demo; dropping kills them.
#[derive(Default)]
pub(super) struct Programs(Vec<(String, Child)>);

impl Programs {
    pub(super) fn start(&mut self, name: &str, command: &mut Command, log: &Path) -> anyhow::Result<()> {
        self.start_with(name, command, Stdio::null(), log)
    }

    pub(super) fn start_with(
        &mut self,
        name: &str,
        command: &mut Command,
        input: Stdio,
        log: &Path,
    ) -> anyhow::Result<()> {
        let file = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone().context("cannot share a log file")?;
        let child = command
            .stdin(input)
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        self.0.push((name.to_owned(), child));
        Ok(())
    }

    /// An error that names a program which ended by itself, with the last line it wrote.
    pub(super) fn check(&mut self, dir: &Path) -> anyhow::Result<()> {
        for (name, child) in &mut self.0 {
            if let Some(status) = child.try_wait().context("cannot look after the programs")? {
                let log = fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it wrote nothing");
                bail!("the {name} ended ({status}): {last}");
            }
        }
        Ok(())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
