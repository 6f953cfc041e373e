//! The pages of the exchange's model: overview with its picture, a list, a page and a
//! form for every kind, history and undo, imports, the document, switches' texts.

mod document;
mod form;
mod import;
mod list;
pub(crate) mod overview;
mod parts;
mod prefer;
mod switch;
mod thing;
mod topology;

use web::Pages;

use super::csv::FILE_BYTES_MAX;
use super::shell::Desk;

/// Bytes of an upload with what its form adds.
const UPLOAD_BYTES_MAX: usize = FILE_BYTES_MAX + 64 * 1024;

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/exchange", "exchange:view", overview::overview)
        .get("/exchange/live", "exchange:view", overview::live)
        .get("/exchange/history", "exchange:view", thing::all_history)
        .post(
            "/exchange/history/{change}/undo",
            "exchange:edit",
            form::undo,
        )
        .get("/exchange/import", "exchange:edit", import::start)
        .upload(
            "/exchange/import/preview",
            "exchange:edit",
            UPLOAD_BYTES_MAX,
            import::preview,
        )
        .upload(
            "/exchange/import/apply",
            "exchange:edit",
            UPLOAD_BYTES_MAX,
            import::apply,
        )
        .get(
            "/exchange/document",
            "exchange:view",
            document::show_document,
        )
        .get(
            "/exchange/document/download",
            "exchange:deploy",
            document::download,
        )
        .get(
            "/exchange/switches/{id}/text",
            "exchange:view",
            switch::text,
        )
        .post(
            "/exchange/switches/{id}/text",
            "exchange:deploy",
            switch::keep,
        )
        .post(
            "/exchange/members/{id}/prefer",
            "exchange:edit",
            prefer::prefer,
        )
        .get("/exchange/{kind}", "exchange:view", list::list)
        .get("/exchange/{kind}/csv", "exchange:view", list::csv)
        .get("/exchange/{kind}/new", "exchange:edit", form::new)
        .post("/exchange/{kind}/new", "exchange:edit", form::create)
        .get("/exchange/{kind}/{id}", "exchange:view", thing::view)
        .get("/exchange/{kind}/{id}/edit", "exchange:edit", form::edit)
        .post("/exchange/{kind}/{id}/edit", "exchange:edit", form::save)
        .get("/exchange/{kind}/{id}/delete", "exchange:edit", form::ask)
        .post(
            "/exchange/{kind}/{id}/delete",
            "exchange:edit",
            form::delete,
        )
        .post(
            "/exchange/{kind}/{id}/restore",
            "exchange:edit",
            form::restore,
        )
        .with_state(desk)
}
