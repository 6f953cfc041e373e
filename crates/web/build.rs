//! Builds the console's scripts, styles and map with npm and esbuild, when their
//! sources change, and lists the results for embedding.
//!
//! `node_modules` lives in the target directory, keyed by the lock file, so that
//! the source tree stays clean and packages are fetched once.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Result<T> = std::result::Result<T, String>;

const SOURCES: [&str; 9] = [
    "package.json",
    "package-lock.json",
    "build.mjs",
    "main.js",
    "page.js",
    "charts.js",
    "live.js",
    "passkeys.js",
    "style.css",
];

fn main() {
    if let Err(message) = run() {
        // Cargo shows what a failed build script says here; nowhere is left to
        // complain about failing to complain.
        writeln!(
            std::io::stderr(),
            "error: could not build the console's assets: {message}"
        )
        .ok();
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let source = PathBuf::from(var("CARGO_MANIFEST_DIR")?).join("assets");
    let out = PathBuf::from(var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    for name in SOURCES {
        println!("cargo::rerun-if-changed=assets/{name}");
    }
    let workshop = workshop(&source, &out)?;
    for name in SOURCES {
        copy(&source.join(name), &workshop.join(name))?;
    }
    if !workshop.join("node_modules/.complete").exists() {
        npm_ci(&workshop)?;
        fs::write(workshop.join("node_modules/.complete"), "")
            .map_err(|error| format!("node_modules: {error}"))?;
    }
    let built = out.join("assets");
    fs::create_dir_all(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    let node = Command::new("node")
        .arg("build.mjs")
        .arg(&built)
        .current_dir(&workshop)
        .output();
    let node =
        node.map_err(|error| format!("node cannot be started ({error}): install Debian's nodejs"))?;
    if !node.status.success() {
        return Err(format!(
            "build.mjs failed:\n{}",
            String::from_utf8_lossy(&node.stderr)
        ));
    }
    copy(&built.join("taiwan.rs"), &out.join("taiwan.rs"))?;
    list(&built, &out)
}

/// A directory for this very lock file, shared by all builds in one target directory.
fn workshop(source: &Path, out: &Path) -> Result<PathBuf> {
    let lock = source.join("package-lock.json");
    let bytes = fs::read(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    // OUT_DIR is <target>/<profile>/build/<crate>/out.
    let target = out.ancestors().nth(4).unwrap_or(out);
    let workshop = target.join(format!("web-assets-{:016x}", hasher.finish()));
    fs::create_dir_all(&workshop).map_err(|error| format!("{}: {error}", workshop.display()))?;
    Ok(workshop)
}

fn npm_ci(workshop: &Path) -> Result<()> {
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(workshop)
        .output()
        .map_err(|error| format!("npm cannot be started ({error}): install Debian's npm"))?;
    if npm.status.success() {
        return Ok(());
    }
    Err(format!(
        "npm ci failed:\n{}",
        String::from_utf8_lossy(&npm.stderr)
    ))
}

/// Writes `assets.rs`: name, name with content hash, media type and bytes of each file.
fn list(built: &Path, out: &Path) -> Result<()> {
    let mut text = String::from("/// The embedded files.\npub(crate) const FILES: &[File] = &[\n");
    for (name, media_type) in [
        ("main.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
    ] {
        let path = built.join(name);
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let (stem, kind) = name.split_once('.').unwrap_or((name, ""));
        text.push_str(&format!(
            "    File {{ name: {name:?}, hashed: \"{stem}-{:016x}.{kind}\", media_type: {media_type:?}, bytes: include_bytes!({path:?}) }},\n",
            hasher.finish()
        ));
    }
    text.push_str("];\n");
    fs::write(out.join("assets.rs"), text).map_err(|error| format!("assets.rs: {error}"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

fn var(name: &str) -> Result<String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
