//! Configuration files on disk.

use std::collections::BTreeMap;

use runtime::config::{self, Check, Checker, ConfigError, NoEnv};
use runtime::telemetry::TelemetryConfig;

#[derive(Debug, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Root {
    telemetry: TelemetryConfig,
}

impl Check for Root {
    fn check(&self, at: &mut Checker) {
        at.section("telemetry", &self.telemetry);
    }
}

#[test]
fn problems_begin_with_file_line_and_column_like_a_compilers() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("civicnet.toml");
    std::fs::write(
        &path,
        "# civicnet\n\n[telemetry]\nlog_format = \"xml\"\ntrace_sample_ratio = 2\nlog_filter = \"=,=\"\n",
    )
    .expect("written");
    let error = config::load::<Root>(&path, &NoEnv).expect_err("wrong");
    let file = path.display();
    assert_eq!(
        error.to_string(),
        format!(
            "{file}:4:14: telemetry.log_format: \"xml\" is not known: must be one of human, json\n\
             {file}:5:22: telemetry.trace_sample_ratio: must be from 0 to 1\n\
             {file}:6:14: telemetry.log_filter: is no log filter: invalid filter directive"
        )
    );
    let right = BTreeMap::from([
        (
            "CIVICNET__TELEMETRY__LOG_FORMAT".to_owned(),
            "json".to_owned(),
        ),
        (
            "CIVICNET__TELEMETRY__TRACE_SAMPLE_RATIO".to_owned(),
            "1".to_owned(),
        ),
        (
            "CIVICNET__TELEMETRY__LOG_FILTER".to_owned(),
            "debug".to_owned(),
        ),
    ]);
    let root: Root = config::load(&path, &right).expect("the environment mends it");
    assert_eq!(root.telemetry.log_filter, "debug");
}

#[test]
fn what_is_no_text_or_too_long_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("binary");
    std::fs::write(&path, [0xff, 0xfe]).expect("written");
    let error = config::load::<Root>(&path, &NoEnv).expect_err("no text");
    assert!(matches!(error, ConfigError::Read { .. }), "{error:?}");
    std::fs::write(&path, vec![b'#'; 5 << 20]).expect("written");
    let error = config::load::<Root>(&path, &NoEnv).expect_err("too long");
    assert!(matches!(error, ConfigError::TooLong { .. }), "{error:?}");
    assert!(error.to_string().contains("binary"), "{error}");
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let text = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(config::parse::<Root>("f", &text, &NoEnv).is_err());
    for parts in [60, 70, 400, 50_000] {
        let key = vec!["a"; parts].join(".");
        for text in [
            format!("{key} = 1"),
            format!("[{key}]"),
            format!("[[{key}]]\nb = 1"),
        ] {
            assert!(
                config::parse::<Root>("f", &text, &NoEnv).is_err(),
                "{parts}"
            );
        }
    }
    let deep = BTreeMap::from([(
        format!("CIVICNET__{}", vec!["a"; 50_000].join("__")),
        "1".to_owned(),
    )]);
    assert!(config::parse::<Root>("f", "", &deep).is_err());
}
