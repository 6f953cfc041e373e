//! Citizens report what they saw, with a file, and follow it by a code.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::{Multipart, State};
use casework::body::{Body, other_errors, show, show_with};
use web::limit::{Limiter, Rate};
use web::ui::{self, Field};
use web::{FieldError, PageForm, Pages, Visit, WebError, WebResult};

use super::citizens::{CitizenReport, FILE_BYTES_MAX};
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::AGAIN;

/// Reports and codes that one address may try, and how fast it may try again.
const RATE: Rate = Rate {
    burst: 10,
    refill: Duration::from_secs(60),
};
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 50_000;
/// What stands around a file in an upload.
const ENVELOPE_BYTES: usize = 64 * 1024;

static TRIES: LazyLock<Limiter<IpAddr>> = LazyLock::new(|| Limiter::new(RATE, ADDRESSES_MAX));

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/public/report", "public:view", ask)
        .upload(
            "/public/report",
            "public:view",
            FILE_BYTES_MAX + ENVELOPE_BYTES,
            send,
        )
        .get("/public/follow", "public:view", follow)
        .post("/public/follow", "public:view", look)
        .with_state(desk)
}

fn try_once(visit: &Visit) -> WebResult<()> {
    TRIES.attempt(&visit.peer, visit.now).map_err(|wait| {
        WebError::too_many(
            u32::try_from(wait.as_secs())
                .unwrap_or(60)
                .saturating_add(1),
        )
    })
}

fn form(visit: &Visit, text: &str, contact: &str, errors: &[FieldError]) -> Body {
    let inner = Body::new()
        .add(
            Field::area("text", visit.t("citizen-text"), 8)
                .value(text)
                .help(visit.t("citizen-text-help"))
                .attribute("maxlength", "5000")
                .errors(errors)
                .required(),
        )
        .add(
            Field::text("contact", visit.t("citizen-contact"))
                .value(contact)
                .help(visit.t("citizen-contact-help"))
                .attribute("maxlength", "200")
                .optional(visit.t("case-optional"))
                .errors(errors),
        )
        .add(
            Field::input("file", "file", visit.t("citizen-file"))
                .help(visit.t("citizen-file-help"))
                .optional(visit.t("case-optional"))
                .errors(errors),
        )
        .group("actions", [ui::button(visit.t("citizen-send"))]);
    Body::new()
        .text(visit.t("citizen-intro"))
        .add_some(other_errors(visit, errors, &["text", "contact", "file"]))
        .upload(&visit.frame_titled(""), "/public/report", inner)
}

async fn ask(visit: Visit) -> WebResult {
    show(
        visit.frame("open-report").plain(),
        form(&visit, "", "", &[]),
    )
}

async fn send(State(desk): State<Desk>, visit: Visit, mut parts: Multipart) -> WebResult {
    try_once(&visit)?;
    let broken = |error: axum::extract::multipart::MultipartError| {
        WebError::bad_request(format!(
            "the upload could not be read: {}",
            error.body_text()
        ))
    };
    let (mut text, mut contact, mut file) = (String::new(), String::new(), None);
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name().unwrap_or_default() {
            "text" => text = part.text().await.map_err(broken)?,
            "contact" => contact = part.text().await.map_err(broken)?,
            "file" => {
                let name = part.file_name().unwrap_or_default().to_owned();
                file = Some((name, part.bytes().await.map_err(broken)?.to_vec()));
            }
            _ => {}
        }
    }
    let file = file.filter(|(name, bytes)| !name.is_empty() && !bytes.is_empty());
    let kept = desk
        .cert
        .citizen_reports(
            &text,
            &contact,
            file.as_ref()
                .map(|(name, bytes)| (name.as_str(), bytes.clone())),
        )
        .await;
    match kept {
        Ok(code) => {
            let body = Body::new()
                .text(visit.t("citizen-thanks"))
                .add(ui::copyable(visit.t("citizen-code"), code))
                .text(visit.t("citizen-code-help"))
                .group(
                    "actions",
                    [ui::button_link("/public/follow", visit.t("open-follow"))],
                );
            show(visit.frame("citizen-kept").plain(), body)
        }
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.fields.is_empty() {
                return Err(told);
            }
            let body = form(&visit, &text, &contact, &told.fields);
            show_with(AGAIN, visit.frame("open-report").plain(), body)
        }
    }
}

fn code_form(visit: &Visit, errors: &[FieldError]) -> Body {
    let inner = Body::new()
        .add(
            Field::text("code", visit.t("citizen-code"))
                .help(visit.t("citizen-code-example"))
                .attribute("autocomplete", "off")
                .attribute("maxlength", "40")
                .errors(errors)
                .required(),
        )
        .group("actions", [ui::button(visit.t("citizen-look"))]);
    Body::new().form(&visit.frame_titled(""), "/public/follow", inner)
}

async fn follow(visit: Visit) -> WebResult {
    show(visit.frame("open-follow").plain(), code_form(&visit, &[]))
}

#[derive(Debug, serde::Deserialize)]
struct Look {
    #[serde(default)]
    code: String,
}

async fn look(State(desk): State<Desk>, visit: Visit, PageForm(look): PageForm<Look>) -> WebResult {
    try_once(&visit)?;
    match desk.cert.follow(&look.code).await {
        Ok(report) => show(visit.frame("open-follow").plain(), stands(&visit, &report)),
        Err(crate::cert::CertError::NotFound { .. }) => {
            let wrong = FieldError::new("code", "unknown", visit.t("citizen-code-wrong"));
            show_with(
                AGAIN,
                visit.frame("open-follow").plain(),
                code_form(&visit, &[wrong]),
            )
        }
        Err(error) => Err(tell(error, visit.lang)),
    }
}

fn stands(visit: &Visit, report: &CitizenReport) -> Body {
    let body = Body::new()
        .text(visit.ta("citizen-came", &[("at", &report.at.taipei())]))
        .section(
            visit.t("citizen-text"),
            Body::new().written(&report.told.text),
        );
    match &report.answer {
        Some(answer) => body.section(visit.t("citizen-answer"), Body::new().written(answer)),
        None => body.text(visit.t("citizen-waits")),
    }
}
