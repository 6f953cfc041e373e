//! Trust anchor locators: checked one by one, with messages that name the file, then copied to where the
//! engine looks for them. A locator that does not read changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rpki::repository::tal::Tal;

use super::ValidatorError;

/// Bytes of one locator; real ones have less than 2 KiB.
pub const TAL_BYTES_MAX: u64 = 64 << 10;
/// Locators at a time.
pub const TALS_MAX: usize = 64;

/// Makes `dir` hold exactly the locators of `paths`. Returns whether anything changed.
///
/// # Errors
/// [`ValidatorError`]; `dir` is then as it was.
pub(super) fn bring(
    paths: &[PathBuf],
    registries: bool,
    dir: &Path,
) -> Result<bool, ValidatorError> {
    let wanted = check_all(paths, registries)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ValidatorError::Cache { path, source }
    };
    let mut changed = false;
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if !name.is_some_and(|name| wanted.contains_key(&name)) {
            std::fs::remove_file(&path).map_err(failed(&path))?;
            changed = true;
        }
    }
    for (name, text) in wanted {
        let path = dir.join(name);
        if std::fs::read(&path).is_ok_and(|old| old == text) {
            continue;
        }
        let new = path.with_extension("new");
        std::fs::write(&new, &text)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(failed(&path))?;
        changed = true;
    }
    Ok(changed)
}

/// The locators of `paths` by the name of their copy.
///
/// # Errors
/// [`ValidatorError`], also when there is none.
pub(super) fn check_all(
    paths: &[PathBuf],
    registries: bool,
) -> Result<BTreeMap<String, Vec<u8>>, ValidatorError> {
    let wanted = read_all(paths)?;
    match wanted.is_empty() && !registries {
        true => Err(ValidatorError::NoTal),
        false => Ok(wanted),
    }
}

fn read_all(paths: &[PathBuf]) -> Result<BTreeMap<String, Vec<u8>>, ValidatorError> {
    let mut all = BTreeMap::new();
    let mut take = |path: PathBuf| -> Result<(), ValidatorError> {
        let wrong = |problem: String| ValidatorError::Tal {
            path: path.clone(),
            problem,
        };
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .ok_or_else(|| wrong("is no file name".into()))?;
        let text = read(&path)?;
        if all.len() >= TALS_MAX {
            return Err(wrong(format!("at most {TALS_MAX} locators")));
        }
        match all.insert(format!("{stem}.tal"), text) {
            None => Ok(()),
            Some(_) => Err(wrong(format!("another locator is called {stem:?} as well"))),
        }
    };
    for path in paths {
        if !path.is_dir() {
            take(path.clone())?;
            continue;
        }
        let failed = |error: std::io::Error| ValidatorError::Tal {
            path: path.clone(),
            problem: format!("could not read the directory: {error}"),
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|end| end == "tal") {
                files.push(file);
            }
        }
        files.sort();
        files.into_iter().try_for_each(&mut take)?;
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, ValidatorError> {
    let wrong = |problem: String| ValidatorError::Tal {
        path: path.to_owned(),
        problem,
    };
    let bytes = std::fs::metadata(path)
        .map_err(|error| wrong(format!("could not read the locator: {error}")))?
        .len();
    if bytes > TAL_BYTES_MAX {
        return Err(wrong(format!("{bytes} bytes: at most {TAL_BYTES_MAX}")));
    }
    let text = std::fs::read(path)
        .map_err(|error| wrong(format!("could not read the locator: {error}")))?;
    check(&text).map_err(wrong)?;
    Ok(text)
}

/// Whether `text` is a locator (RFC 8630): addresses, an empty line, a public key.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &[u8]) -> Result<(), String> {
    let tal = Tal::read_named("tal".into(), &mut &text[..])
        .map_err(|error| format!("is no trust anchor locator (RFC 8630): {error}"))?;
    match tal.uris().next() {
        Some(_) => Ok(()),
        None => Err("names no address of its certificate".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# of a test\nhttps://ta.test/ta.cer\nrsync://ta.test/m/ta.cer\n\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAovWQL2lh6knDxGUG5hbtCXvvh4AOzjhDkSHlj22gn/1oiM9IeDATIwP44vhQ6L/xvuk7W6Kfa5ygmqQ+xOZOwTWPcrUbqaQyPNxokuivzyvqVZVDecOEqs78q58mSp9nbtxmLRW7B67SJCBSzfa5XpVyXYEgYAjkk3fpmefU+AcxtxvvHB5OVPIaBfPcs80ICMgHQX+fphvute9XLxjfJKJWkhZqZ0v7pZm2uhkcPx1PMGcrGee0WSDC3fr3erLueagpiLsFjwwpX6F+Ms8vqz45H+DKmYKvPSstZjCCq9aJ0qANT9OtnfSDOS+aLRPjZryCNyvvBHxZXqj5YCGKtwIDAQAB\n";

    #[test]
    fn locators_come_go_and_are_named_when_wrong() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(&from).expect("made");
        std::fs::create_dir_all(&to).expect("made");
        let one = from.join("one.tal");
        std::fs::write(&one, GOOD).expect("written");
        std::fs::write(from.join("readme.txt"), "no locator").expect("written");
        let paths = [from.clone()];
        assert!(bring(&paths, false, &to).expect("brought"), "new");
        assert!(!bring(&paths, false, &to).expect("brought"), "the same");
        assert_eq!(
            std::fs::read_to_string(to.join("one.tal")).expect("there"),
            GOOD
        );
        std::fs::write(from.join("two.tal"), "https://ta.test/ta.cer\n\nAAAA").expect("written");
        let error = bring(&paths, false, &to).expect_err("no key").to_string();
        assert!(
            error.contains("two.tal: is no trust anchor locator"),
            "{error}"
        );
        std::fs::remove_file(from.join("two.tal")).expect("removed");
        let twice = [from.clone(), one.clone()];
        let error = bring(&twice, false, &to).expect_err("twice").to_string();
        assert!(error.contains("is called \"one\""), "{error}");
        std::fs::remove_file(&one).expect("removed");
        assert!(matches!(
            bring(&paths, false, &to),
            Err(ValidatorError::NoTal)
        ));
        assert!(bring(&paths, true, &to).expect("the registries' remain"));
        assert!(!to.join("one.tal").exists());
    }

    #[test]
    fn ten_thousand_mutations_do_not_panic() {
        let mut seed = crate::testing::Lcg(13);
        let mut good = 0;
        for _ in 0..10_000 {
            good += usize::from(check(&crate::testing::mutate(&mut seed, GOOD.as_bytes())).is_ok());
        }
        assert!(good < 10_000);
    }
}
