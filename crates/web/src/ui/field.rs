//! Form fields with their label, help and error.

use super::{Markup, attribute, escape};

#[derive(Debug, Clone)]
enum Kind {
    Input(&'static str),
    Area(u8),
    Select(Vec<(String, String)>),
    Radio(Vec<(String, String)>),
    Check,
    Checks(Vec<(String, String)>, Vec<String>),
}

/// A form field. Built up, then shown by `{{ field }}`.
#[derive(Debug, Clone)]
pub struct Field {
    name: String,
    label: String,
    kind: Kind,
    value: String,
    help: Option<String>,
    error: Option<crate::Said>,
    required: bool,
    attributes: Vec<(&'static str, String)>,
    optional_text: Option<String>,
}

impl Field {
    fn new(name: impl Into<String>, label: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            label: label.into(),
            kind,
            value: String::new(),
            help: None,
            error: None,
            required: false,
            attributes: Vec::new(),
            optional_text: None,
        }
    }

    /// One line of text.
    pub fn text(name: impl Into<String>, label: impl Into<String>) -> Self {
        Self::new(name, label, Kind::Input("text"))
    }

    /// One line of another HTML input type: `email`, `url`, `number`, `date`, `search`, `file`.
    pub fn input(kind: &'static str, name: impl Into<String>, label: impl Into<String>) -> Self {
        Self::new(name, label, Kind::Input(kind))
    }

    /// A secret; its value is never shown again.
    pub fn password(name: impl Into<String>, label: impl Into<String>) -> Self {
        Self::new(name, label, Kind::Input("password"))
    }

    /// Several lines of text.
    pub fn area(name: impl Into<String>, label: impl Into<String>, rows: u8) -> Self {
        Self::new(name, label, Kind::Area(rows))
    }

    /// One of several, in a list: value and text.
    pub fn select(
        name: impl Into<String>,
        label: impl Into<String>,
        options: Vec<(String, String)>,
    ) -> Self {
        Self::new(name, label, Kind::Select(options))
    }

    /// One of a few, all in sight: value and text.
    pub fn radio(
        name: impl Into<String>,
        label: impl Into<String>,
        options: Vec<(String, String)>,
    ) -> Self {
        Self::new(name, label, Kind::Radio(options))
    }

    /// Yes or no; sent as `on`, or not at all.
    pub fn check(name: impl Into<String>, label: impl Into<String>, on: bool) -> Self {
        let field = Self::new(name, label, Kind::Check);
        if on { field.value("on") } else { field }
    }

    /// Any of several: value and text, and the values that are on.
    pub fn checks(
        name: impl Into<String>,
        label: impl Into<String>,
        options: Vec<(String, String)>,
        on: Vec<String>,
    ) -> Self {
        Self::new(name, label, Kind::Checks(options, on))
    }

    /// The value shown.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// A line that helps to fill it in.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// What is wrong with the value.
    #[must_use]
    pub fn error(mut self, text: Option<impl Into<String>>) -> Self {
        self.error = text.map(crate::Said::plain);
        self
    }

    /// Takes what is wrong with this field out of the errors of a refused form, and says it
    /// in the reader's language ([`crate::said`]).
    #[must_use]
    pub fn errors(self, errors: &[crate::FieldError]) -> Self {
        let error = errors
            .iter()
            .find(|error| error.field == self.name)
            .map(crate::said);
        Self { error, ..self }
    }

    /// Must be filled in.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// May be left empty: says so, in `text`, beside the label.
    #[must_use]
    pub fn optional(mut self, text: impl Into<String>) -> Self {
        self.optional_text = Some(text.into());
        self
    }

    /// Another HTML attribute: `autocomplete`, `inputmode`, `maxlength`, `pattern`, `placeholder`, `min`, …
    #[must_use]
    pub fn attribute(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// The HTML.
    pub fn markup(&self) -> Markup {
        let id: String = format!("f-{}", self.name)
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let mut out = "<div class=\"field".to_owned();
        if self.error.is_some() {
            out.push_str(" field-bad");
        }
        out.push_str("\">");
        let group = matches!(self.kind, Kind::Radio(_) | Kind::Checks(..));
        let mut described = Vec::new();
        if self.help.is_some() {
            described.push(format!("{id}-help"));
        }
        if self.error.is_some() {
            described.push(format!("{id}-error"));
        }
        let mut common = String::new();
        if !group {
            attribute(&mut common, "id", &id);
        }
        attribute(&mut common, "name", &self.name);
        if !described.is_empty() {
            attribute(&mut common, "aria-describedby", &described.join(" "));
        }
        if self.error.is_some() {
            common.push_str(" aria-invalid=\"true\"");
        }
        if self.required {
            common.push_str(" required");
        }
        for (name, value) in &self.attributes {
            attribute(&mut common, name, value);
        }
        let optional = self.optional_text.as_ref().map_or(String::new(), |text| {
            format!(" <span class=\"optional\">{}</span>", escape(text))
        });
        let label = format!(
            "<label for=\"{id}\">{}{optional}</label>",
            escape(&self.label)
        );
        let help = self.help.as_ref().map_or(String::new(), |text| {
            format!("<p class=\"help\" id=\"{id}-help\">{}</p>", escape(text))
        });
        let error = self.error.as_ref().map_or(String::new(), |said| {
            let said = said.markup();
            format!("<p class=\"error\" id=\"{id}-error\">{}</p>", said.as_str())
        });
        match &self.kind {
            Kind::Input(kind) => {
                let mut input = format!("<input type=\"{kind}\"{common}");
                if !matches!(*kind, "password" | "file") {
                    attribute(&mut input, "value", &self.value);
                }
                input.push('>');
                out.push_str(&format!("{label}{help}{error}{input}"));
            }
            Kind::Area(rows) => out.push_str(&format!(
                "{label}{help}{error}<textarea rows=\"{rows}\"{common}>\n{}</textarea>",
                escape(&self.value)
            )),
            Kind::Select(options) => {
                let mut list = format!("<select{common}>");
                for (value, text) in options {
                    list.push_str("<option");
                    attribute(&mut list, "value", value);
                    if *value == self.value {
                        list.push_str(" selected");
                    }
                    list.push('>');
                    list.push_str(&escape(text));
                    list.push_str("</option>");
                }
                list.push_str("</select>");
                out.push_str(&format!("{label}{help}{error}{list}"));
            }
            Kind::Check => {
                let on = if self.value == "on" { " checked" } else { "" };
                out.push_str(&format!(
                    "<div class=\"check\"><input type=\"checkbox\" value=\"on\"{common}{on}>{label}</div>{help}{error}"
                ));
            }
            Kind::Radio(options) => {
                let on = std::slice::from_ref(&self.value);
                out.push_str(&choices(
                    "radio",
                    &id,
                    &self.label,
                    &optional,
                    &help,
                    &error,
                    &common,
                    options,
                    on,
                ));
            }
            Kind::Checks(options, on) => {
                out.push_str(&choices(
                    "checkbox",
                    &id,
                    &self.label,
                    &optional,
                    &help,
                    &error,
                    &common,
                    options,
                    on,
                ));
            }
        }
        out.push_str("</div>");
        Markup::new(out)
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one element, used twice"
)]
fn choices(
    kind: &str,
    id: &str,
    label: &str,
    optional: &str,
    help: &str,
    error: &str,
    common: &str,
    options: &[(String, String)],
    on: &[String],
) -> String {
    let mut out = format!(
        "<fieldset><legend>{}{optional}</legend>{help}{error}",
        escape(label)
    );
    // `required` on a check box would ask for that very one.
    let common = if kind == "checkbox" {
        common.replace(" required", "")
    } else {
        common.to_owned()
    };
    for (i, (value, text)) in options.iter().enumerate() {
        let checked = if on.contains(value) { " checked" } else { "" };
        out.push_str(&format!(
            "<div class=\"check\"><input type=\"{kind}\" id=\"{id}-{i}\"{common} value=\"{}\"{checked}><label for=\"{id}-{i}\">{}</label></div>",
            escape(value),
            escape(text)
        ));
    }
    out.push_str("</fieldset>");
    out
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.markup().as_str())
    }
}

impl askama::filters::HtmlSafe for Field {}

/// The button that sends a form.
pub fn button(text: impl AsRef<str>) -> Markup {
    Markup::new(format!(
        "<button type=\"submit\" class=\"button button-primary\">{}</button>",
        escape(text.as_ref())
    ))
}

/// The button that sends a form that destroys something.
pub fn danger_button(text: impl AsRef<str>) -> Markup {
    Markup::new(format!(
        "<button type=\"submit\" class=\"button button-danger\">{}</button>",
        escape(text.as_ref())
    ))
}

/// A link that looks like a button.
pub fn button_link(path: impl AsRef<str>, text: impl AsRef<str>) -> Markup {
    Markup::new(format!(
        "<a class=\"button\" href=\"{}\">{}</a>",
        escape(path.as_ref()),
        escape(text.as_ref())
    ))
}
