//! Parts of tests that run in a process of their own, because they are killed or
//! because they limit what the process may do. A child is this same test program,
//! asked for one test by name.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const ROLE: &str = "LAKE_TEST_CHILD";
const DIRECTORY: &str = "LAKE_TEST_DIRECTORY";

/// The directory a child works in; none when this process is not that child.
pub(crate) fn directory_of(role: &str) -> Option<std::path::PathBuf> {
    (std::env::var(ROLE).as_deref() == Ok(role)).then(|| {
        std::env::var_os(DIRECTORY)
            .expect("a child has a directory")
            .into()
    })
}

/// Starts the child whose test is `test` (its full path) with this role.
pub(crate) fn start(test: &str, role: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the child starts")
}

/// The lines that a child prints with this prefix, without it.
pub(crate) fn lines<'a>(
    child: &'a mut Child,
    prefix: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let output = child.stdout.take().expect("the child's output");
    BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .filter_map(move |line| line.split_once(prefix).map(|(_, rest)| rest.to_owned()))
}
