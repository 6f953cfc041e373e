//! Page bodies put together from the frame's components; everything that is text is
//! escaped on its way in.

use serde_json::Value;
use web::Frame;
use web::ui::{self, Markup};

use crate::form::{Form, Question, Widget};
use crate::validate::moment_of;

/// The content of a page in the making.
#[derive(Debug, Default)]
pub struct Body(String);

impl Body {
    /// An empty body.
    pub fn new() -> Self {
        Self::default()
    }

    /// One component.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "a step of a builder, not arithmetic"
    )]
    pub fn add(mut self, part: impl askama::filters::HtmlSafe) -> Self {
        self.0.push_str(&part.to_string());
        self
    }

    /// One component, if there is one.
    #[must_use]
    pub fn add_some(self, part: Option<Markup>) -> Self {
        match part {
            Some(part) => self.add(part),
            None => self,
        }
    }

    /// A heading of the second level.
    #[must_use]
    pub fn heading(mut self, text: impl AsRef<str>) -> Self {
        self.0
            .push_str(&format!("<h2>{}</h2>", ui::escape(text.as_ref())));
        self
    }

    /// A paragraph.
    #[must_use]
    pub fn text(mut self, text: impl AsRef<str>) -> Self {
        self.0
            .push_str(&format!("<p>{}</p>", ui::escape(text.as_ref())));
        self
    }

    /// Text as it was written, with its line ends.
    #[must_use]
    pub fn written(mut self, text: impl AsRef<str>) -> Self {
        self.0.push_str(&format!(
            "<p class=\"prose\">{}</p>",
            ui::escape(text.as_ref()).replace('\n', "<br>")
        ));
        self
    }

    /// Parts side by side where there is room: tiles, buttons.
    #[must_use]
    pub fn group(mut self, class: &'static str, parts: impl IntoIterator<Item = Markup>) -> Self {
        self.0.push_str(&format!("<div class=\"{class}\">"));
        for part in parts {
            self.0.push_str(part.as_str());
        }
        self.0.push_str("</div>");
        self
    }

    /// A section with a heading.
    #[must_use]
    pub fn section(mut self, title: impl AsRef<str>, inner: Self) -> Self {
        self.0.push_str(&format!(
            "<section class=\"panel\"><h2>{}</h2>{}</section>",
            ui::escape(title.as_ref()),
            inner.0
        ));
        self
    }

    /// A form that is sent to `path`.
    #[must_use]
    pub fn form(mut self, frame: &Frame, path: &str, inner: Self) -> Self {
        self.0.push_str(&format!(
            "<form class=\"form\" method=\"post\" action=\"{}\">{}{}</form>",
            ui::escape(path),
            frame.csrf(),
            inner.0
        ));
        self
    }

    /// A form with a file that is sent to `path`.
    #[must_use]
    pub fn upload(mut self, frame: &Frame, path: &str, inner: Self) -> Self {
        self.0.push_str(&format!(
            "<form class=\"form\" method=\"post\" enctype=\"multipart/form-data\" action=\"{}\">{}</form>",
            ui::escape(&frame.upload_action(path)),
            inner.0
        ));
        self
    }

    /// A form that asks this page with other parameters.
    #[must_use]
    pub fn search(mut self, path: &str, inner: Self) -> Self {
        self.0.push_str(&format!(
            "<form class=\"form form-inline\" method=\"get\" action=\"{}\">{}</form>",
            ui::escape(path),
            inner.0
        ));
        self
    }

    /// Something folded away until it is wanted.
    #[must_use]
    pub fn fold(mut self, title: impl AsRef<str>, inner: Self) -> Self {
        self.0.push_str(&format!(
            "<details><summary>{}</summary>{}</details>",
            ui::escape(title.as_ref()),
            inner.0
        ));
        self
    }

    /// The body as HTML.
    pub fn markup(self) -> Markup {
        Markup::new(self.0)
    }
}

/// A value of a form as people read it: choices by their labels, moments in local time.
pub fn value(visit: &web::Visit, question: &Question, value: &Value) -> Markup {
    let language = visit.lang.tag();
    match value {
        Value::Null => Markup::text("–"),
        Value::Bool(yes) => Markup::text(visit.t(if *yes { "case-yes" } else { "case-no" })),
        Value::Array(items) => {
            let items: String = items
                .iter()
                .map(|item| format!("<li>{}</li>", ui::escape(&Form::show(Some(item)))))
                .collect();
            Markup::new(format!("<ul>{items}</ul>"))
        }
        Value::String(text) if question.widget == Widget::DateTime => {
            moment_of(text).map_or_else(|| Markup::text(text), ui::time)
        }
        value => {
            let text = Form::show(Some(value));
            let text = question
                .options
                .get(&text)
                .map_or(text.clone(), |option| option.of(language).to_owned());
            Markup::new(ui::escape(&text).replace('\n', "<br>"))
        }
    }
}

/// A hidden field.
pub fn hidden(name: &str, value: impl std::fmt::Display) -> Markup {
    Markup::new(format!(
        "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
        ui::escape(name),
        ui::escape(&value.to_string())
    ))
}

#[derive(askama::Template)]
#[template(path = "body.html")]
struct Whole {
    frame: Frame,
    body: Markup,
}

/// A page whose content is `body`.
///
/// # Errors
/// 500 when the frame cannot be rendered.
pub fn show(frame: Frame, body: Body) -> web::WebResult {
    web::page(&Whole {
        frame,
        body: body.markup(),
    })
}

/// A page with a status of its own: a form shown again with its errors.
///
/// # Errors
/// 500 when the frame cannot be rendered.
pub fn show_with(status: axum::http::StatusCode, frame: Frame, body: Body) -> web::WebResult {
    web::page_with(
        status,
        &Whole {
            frame,
            body: body.markup(),
        },
    )
}

/// Errors that no field of the page shows.
pub fn other_errors(
    visit: &web::Visit,
    errors: &[web::FieldError],
    shown: &[&str],
) -> Option<Markup> {
    if errors.is_empty() {
        return None;
    }
    let others: String = errors
        .iter()
        .filter(|error| !shown.contains(&error.field.as_str()))
        .map(|error| {
            format!(
                "<li>{}: {}</li>",
                ui::escape(&error.field),
                web::said(error).markup()
            )
        })
        .collect();
    let body = if others.is_empty() {
        Markup::text(visit.t("case-errors-text"))
    } else {
        Markup::new(format!("<ul>{others}</ul>"))
    };
    Some(ui::notice(
        web::Level::Bad,
        visit.t("case-errors-title"),
        body,
    ))
}
