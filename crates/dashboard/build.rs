//! Lists the built pages in `dist/` for the program to embed. It builds nothing: they are committed, so that `cargo build` needs
//! no Node; `scripts/check-dashboard.sh` builds them anew and fails on any difference.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() {
    let dist = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("dist");
    println!("cargo:rerun-if-changed={}", dist.display());
    let mut names: Vec<String> = fs::read_dir(&dist)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    for needed in ["index.html", "app.js", "app.css"] {
        assert!(
            names.iter().any(|name| name == needed),
            "crates/dashboard/dist/{needed} is missing: restore it from the repository, or run `npm ci && npm run build` in web/"
        );
    }
    let mut table = String::from("pub const FILES: &[(&str, &[u8])] = &[\n");
    for name in &names {
        let path = dist.join(name);
        println!("cargo:rerun-if-changed={}", path.display());
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", path.display().to_string()).expect("a string");
    }
    table.push_str("];\n");
    let out = Path::new(&env::var_os("OUT_DIR").expect("set by cargo")).join("files.rs");
    fs::write(out, table).expect("cargo's own directory is writable");
}
