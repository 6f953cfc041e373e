//! `civicnet stix`: check, import, collections and their rights.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context;
use isac::objects::collections::ROOT;
use isac::objects::import::{self, About, Imported};
use isac::objects::{Batch, Objects, Outcome, Prepared, Right, Source, prepare};
use isac::stix::Tlp;

use super::control;
use crate::Verdict;
use crate::cli::{Place, StixCommand, StixFormat};

/// Objects stored at once.
const OBJECTS_TOGETHER: usize = 2_000;
/// Lines about what was left out.
const LINES_MAX: usize = 50;

pub(crate) async fn run(what: StixCommand) -> anyhow::Result<Verdict> {
    match what {
        StixCommand::Check { file } => check(&file),
        StixCommand::Import {
            file,
            format,
            collection,
            tlp,
            confidence,
            days,
            place,
        } => {
            let text = read(&file, matches!(format, StixFormat::Csv))?;
            let about = About {
                now: base::Clock::now(&base::SystemClock).micros(),
                tlp: marking(&tlp)?,
                confidence,
                days,
            };
            let batch = match format {
                StixFormat::Stix21 => prepare::envelope(text.as_bytes())?,
                StixFormat::Stix20 => prepared(import::stix20(&text)?)?,
                StixFormat::Stix1 => prepared(import::stix1(&text, &about)?)?,
                StixFormat::Openioc => prepared(import::openioc(&text, &about)?)?,
                StixFormat::Misp => prepared(import::misp(&text, &about)?)?,
                StixFormat::Csv => prepared(import::csv(&text, &about)?)?,
            };
            put(&place, &collection, batch).await
        }
        StixCommand::Collections { place } => {
            let objects = open(&place).await?;
            for collection in objects.collections(ROOT).await? {
                let alias = collection.alias.unwrap_or_default();
                crate::out(&format!(
                    "{} {alias:20} {}",
                    collection.id, collection.title
                ))?;
                for right in collection.rights {
                    let org = right
                        .org
                        .map_or_else(|| "*".to_owned(), |org| org.to_string());
                    crate::out(&format!(
                        "    {org}: {}{} up to {}",
                        if right.read { "read " } else { "" },
                        if right.write { "write" } else { "" },
                        right.tlp_max.name()
                    ))?;
                }
            }
            Ok(Verdict::Good)
        }
        StixCommand::CreateCollection {
            title,
            alias,
            description,
            place,
        } => {
            let objects = open(&place).await?;
            let by = Source::house("civicnet stix");
            let made = objects
                .create_collection(&title, &description, alias.as_deref(), &[], &by)
                .await?;
            crate::out(&made.id.to_string())?;
            Ok(Verdict::Good)
        }
        StixCommand::Right {
            collection,
            org,
            read,
            write,
            tlp_max,
            place,
        } => {
            let objects = open(&place).await?;
            let collection = objects.collection(ROOT, &collection).await?;
            let org = match org.as_str() {
                "*" => None,
                org => Some(
                    org.parse()
                        .context("org must be * or an organisation's id")?,
                ),
            };
            let right = Right {
                org,
                read,
                write,
                tlp_max: marking(&tlp_max)?,
            };
            let by = Source::house("civicnet stix");
            objects.set_right(&collection, &right, &by).await?;
            Ok(Verdict::Good)
        }
    }
}

fn marking(name: &str) -> anyhow::Result<Tlp> {
    Tlp::from_name(name).with_context(|| {
        format!("{name:?} is no marking: must be clear, green, amber, amber+strict or red")
    })
}

async fn open(place: &Place) -> anyhow::Result<Objects> {
    let memory = control::open(&place.config).await?;
    Ok(Objects::open(memory.db).await?)
}

/// The file, or standard input for `-`.
fn read(file: &Path, is_list: bool) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let limit = import::BYTES_MAX as u64 + 1;
    let result = if file == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    let could_not = || format!("could not read {}", file.display());
    result.with_context(could_not)?;
    anyhow::ensure!(
        bytes.len() <= import::BYTES_MAX,
        "{}: must have at most {} bytes",
        file.display(),
        import::BYTES_MAX
    );
    import::text_of(bytes, is_list).with_context(could_not)
}

/// Says each object that breaks a rule, with path and rule.
fn check(file: &Path) -> anyhow::Result<Verdict> {
    let batch = prepare::envelope(read(file, false)?.as_bytes())?;
    for refused in &batch.refused {
        crate::out(&format!(
            "objects[{}] {}: {}",
            refused.index, refused.id, refused.wrong
        ))?;
    }
    crate::out(&format!(
        "{} objects keep the rules, {} do not",
        batch.objects.len(),
        batch.refused.len()
    ))?;
    Ok(match batch.refused.is_empty() {
        true => Verdict::Good,
        false => Verdict::NotInOrder,
    })
}

fn prepared(imported: Imported) -> anyhow::Result<Batch> {
    say_some(&imported.left_out);
    let text = serde_json::json!({ "objects": [] }).to_string();
    let mut batch = prepare::envelope(text.as_bytes())?;
    for object in imported.objects {
        let id = object["id"].as_str().unwrap_or("?").to_owned();
        match prepare::object(&object.to_string()) {
            Ok(object) => batch.objects.push(object),
            Err(error) => crate::complain(&format!("left out: {id}: {error}")),
        }
    }
    Ok(batch)
}

fn say_some(lines: &[String]) {
    for line in lines.iter().take(LINES_MAX) {
        crate::complain(&format!("left out: {line}"));
    }
    if lines.len() > LINES_MAX {
        crate::complain(&format!("left out: {} more", lines.len() - LINES_MAX));
    }
}

async fn put(place: &Place, collection: &str, batch: Batch) -> anyhow::Result<Verdict> {
    let wrong: Vec<String> = batch
        .refused
        .iter()
        .map(|refused| {
            format!(
                "objects[{}] {}: {}",
                refused.index, refused.id, refused.wrong
            )
        })
        .collect();
    say_some(&wrong);
    let objects = open(place).await?;
    let collection = objects.collection(ROOT, collection).await?;
    let (mut added, mut known) = (0, 0);
    let mut rest = batch.objects.into_iter();
    loop {
        let some: Vec<Prepared> = rest.by_ref().take(OBJECTS_TOGETHER).collect();
        if some.is_empty() {
            break;
        }
        let source = Source::house("civicnet stix");
        for outcome in objects.put(&collection, source, some, None).await? {
            match outcome {
                Outcome::Added(_) => added += 1,
                Outcome::Known | Outcome::Kept | Outcome::Refused => known += 1,
            }
        }
    }
    crate::out(&format!(
        "{added} objects added, {known} were there already"
    ))?;
    Ok(Verdict::Good)
}
