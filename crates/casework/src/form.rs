//! Forms as data: a JSON document that says what a submission holds (a subset of
//! JSON Schema 2020-12), how it is asked (steps, labels, help, in both languages)
//! and what becomes of it (a [`Workflow`]).
//!
//! A domain registers its documents at start; every version that was ever used
//! stays registered, because a case is read with the form it was written on.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::workflow::{Side, Workflow, WorkflowError};

/// Fields of one form.
pub const FIELDS_MAX: usize = 100;
/// Steps of one form.
pub const STEPS_MAX: usize = 20;

/// A text in both languages of the house.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Traditional Chinese as used in Taiwan.
    #[serde(rename = "zh-TW")]
    pub zh: String,
    /// English.
    pub en: String,
}

impl Text {
    /// Both languages at once.
    pub fn new(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self {
            zh: zh.into(),
            en: en.into(),
        }
    }

    /// The text for a language tag; anything but English reads Chinese.
    pub fn of(&self, language: &str) -> &str {
        if language.starts_with("en") {
            &self.en
        } else {
            &self.zh
        }
    }
}

/// The values of a submission, by field name.
pub type Values = Map<String, Value>;

/// A condition on a submission: each field named has one of its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct When(BTreeMap<String, Vec<String>>);

impl When {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the values meet it; what asks nothing is met.
    pub fn holds(&self, values: &Values) -> bool {
        self.0.iter().all(|(field, wanted)| {
            let value = values.get(field).and_then(Value::as_str);
            value.is_some_and(|value| wanted.iter().any(|one| one == value))
        })
    }

    /// The fields and the values that they may have.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(f, v)| (f.as_str(), v.as_slice()))
    }
}

/// A form: one version of one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// Stable name: `cdn-site`.
    pub id: String,
    /// 1, 2, 3 …; a changed document is a new version.
    pub version: u32,
    /// Shown as the page's title.
    pub title: Text,
    /// What it is for and what to have at hand, shown before the first step.
    pub intro: Text,
    /// Whether a case must belong to an organisation.
    #[serde(default)]
    pub needs_org: bool,
    /// Who begins cases of it; officers' own forms are not shown to others.
    #[serde(default = "applicants")]
    pub begun_by: Side,
    /// Whether notifications of its cases stay in the console: no mail, no web hook.
    #[serde(default)]
    pub inside: bool,
    /// The field whose value names the case in lists.
    pub subject: String,
    /// Cases whose name is not told outside the console: by mail and web hook they have a
    /// number only.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub unnamed: When,
    /// What a submission holds.
    pub schema: ObjectSchema,
    /// How it is asked.
    pub layout: Vec<Step>,
    /// What becomes of it.
    pub workflow: Workflow,
}

fn applicants() -> Side {
    Side::Applicant
}

/// The top of the JSON Schema subset: an object with named properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectSchema {
    /// Always `object`.
    #[serde(rename = "type")]
    pub kind: ObjectKind,
    /// The fields.
    pub properties: BTreeMap<String, Property>,
    /// Fields that a submission must fill in; a draft need not.
    #[serde(default)]
    pub required: Vec<String>,
    /// Always false: a value without a field is an error.
    #[serde(rename = "additionalProperties")]
    pub additional_properties: bool,
}

/// The only type of an [`ObjectSchema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// `object`
    Object,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// Several values of one property.
    Array,
}

/// What a text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// RFC 3339 full-date.
    Date,
    /// RFC 3339 date-time; without an offset it is read as Asia/Taipei.
    DateTime,
    /// An address of mail (RFC 5321 section 4.1.2, dot-string local part).
    Email,
    /// A host name (RFC 1123 section 2.1) of at least two labels; Unicode is
    /// accepted and kept as A-labels.
    Hostname,
    /// `http://` or `https://` URL.
    Uri,
    /// `http://host[:port]` or `https://host[:port]` without a path.
    Origin,
    /// The identifier of an uploaded attachment of the same case.
    File,
}

/// One value of a submission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Property {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What a text must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Characters, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_length: Option<usize>,
    /// Characters, at most; 10,000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// A regular expression, not anchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The texts allowed.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// At least this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// At most this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// The property of each element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Property>>,
    /// Elements, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_items: Option<usize>,
    /// Elements, at most; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items: Option<usize>,
    /// Whether no two elements may be equal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unique_items: bool,
    /// A yes-or-no that must be yes (a declaration to agree to).
    #[serde(
        default,
        rename = "x-must-be-true",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub must_be_true: bool,
    /// Personal data: encrypted at rest, its reading audited.
    #[serde(
        default,
        rename = "x-personal",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub personal: bool,
}

/// One thing that is asked at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its title.
    pub title: Text,
    /// A sentence below it.
    #[serde(default)]
    pub help: Text,
    /// The fields, in order.
    pub fields: Vec<Question>,
}

/// How one field is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The property.
    pub name: String,
    /// Its label.
    pub label: Text,
    /// What to write, with an example.
    #[serde(default)]
    pub help: Text,
    /// The control.
    pub widget: Widget,
    /// Labels of the choices of a select.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Text>,
    /// What the pattern asks, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern_help: Option<Text>,
    /// When it is asked; always, where it says nothing. What it depends on is asked in an
    /// earlier step.
    #[serde(default, skip_serializing_if = "When::is_empty")]
    pub when: When,
    /// Whether it must be filled in where it is asked. What is always asked and must be
    /// filled in stands in the schema's `required`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// The control that asks a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Widget {
    /// One line.
    Text,
    /// Several lines, one text.
    Paragraph,
    /// One value a line.
    Lines,
    /// A number.
    Number,
    /// One of a list.
    Select,
    /// A tick box.
    Checkbox,
    /// A calendar day.
    Date,
    /// A moment.
    DateTime,
    /// An upload.
    File,
    /// A URL.
    Url,
    /// A host name.
    Hostname,
    /// An e-mail address.
    Email,
}

/// Why a document is not a form.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// Not the right JSON.
    #[error("a form document cannot be read")]
    Json(#[source] serde_json::Error),
    /// Something in it contradicts the rest.
    #[error("form {form} version {version}: {problem}")]
    Inconsistent {
        /// The form.
        form: String,
        /// Its version.
        version: u32,
        /// What is wrong.
        problem: String,
    },
    /// The workflow contradicts itself.
    #[error("form {form} version {version}: its workflow is wrong")]
    Workflow {
        /// The form.
        form: String,
        /// Its version.
        version: u32,
        /// What is wrong.
        #[source]
        source: WorkflowError,
    },
    /// Two documents claim the same version.
    #[error("form {0} version {1} is registered twice")]
    Twice(String, u32),
}

impl Form {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`FormError`] when it is not JSON of this shape or contradicts itself.
    pub fn parse(document: &str) -> Result<Self, FormError> {
        let form: Self = serde_json::from_str(document).map_err(FormError::Json)?;
        form.check()?;
        Ok(form)
    }

    fn check(&self) -> Result<(), FormError> {
        let wrong = |problem: String| FormError::Inconsistent {
            form: self.id.clone(),
            version: self.version,
            problem,
        };
        let properties = &self.schema.properties;
        if self.version == 0 {
            return Err(wrong("versions begin at 1".into()));
        }
        if properties.len() > FIELDS_MAX || self.layout.len() > STEPS_MAX {
            return Err(wrong(format!(
                "more than {FIELDS_MAX} fields or {STEPS_MAX} steps"
            )));
        }
        if self.schema.additional_properties {
            return Err(wrong("additionalProperties must be false".into()));
        }
        for (name, property) in properties {
            check_property(property).map_err(|p| wrong(format!("field {name:?}: {p}")))?;
            let asked = self.questions().filter(|q| &q.name == name).count();
            if asked != 1 {
                return Err(wrong(format!("field {name:?} is asked {asked} times")));
            }
        }
        for question in self.questions() {
            let Some(property) = properties.get(&question.name) else {
                return Err(wrong(format!("question {:?} has no field", question.name)));
            };
            for choice in &property.choices {
                if question.widget == Widget::Select && !question.options.contains_key(choice) {
                    return Err(wrong(format!(
                        "choice {choice:?} of field {:?} has no label",
                        question.name
                    )));
                }
            }
        }
        for name in self.schema.required.iter().chain([&self.subject]) {
            if !properties.contains_key(name) {
                return Err(wrong(format!("{name:?} is required, but no field")));
            }
        }
        for (at, step) in self.layout.iter().enumerate() {
            for question in &step.fields {
                self.check_question(at, question).map_err(&wrong)?;
            }
        }
        self.check_when(&self.unnamed, self.layout.len())
            .map_err(|p| wrong(format!("unnamed: {p}")))?;
        self.workflow.check().map_err(|source| FormError::Workflow {
            form: self.id.clone(),
            version: self.version,
            source,
        })
    }

    fn check_question(&self, step: usize, question: &Question) -> Result<(), String> {
        let name = &question.name;
        self.check_when(&question.when, step)
            .map_err(|problem| format!("question {name:?}: {problem}"))?;
        if question.when.is_empty() && question.required {
            return Err(format!(
                "question {name:?} is always asked: it belongs into the schema's required"
            ));
        }
        if !question.when.is_empty() && self.schema.required.contains(name) {
            return Err(format!(
                "question {name:?} is not always asked, but its field is always required"
            ));
        }
        Ok(())
    }

    /// A condition depends on choices that are made before `step`.
    fn check_when(&self, when: &When, step: usize) -> Result<(), String> {
        for (field, wanted) in when.fields() {
            let earlier = self.layout[..step]
                .iter()
                .flat_map(|step| step.fields.iter())
                .any(|question| question.name == field && question.when.is_empty());
            if !earlier {
                return Err(format!("depends on {field:?}, which no earlier step asks"));
            }
            let choices = self.schema.properties.get(field).map(|p| &p.choices);
            let known = choices.is_some_and(|all| wanted.iter().all(|one| all.contains(one)));
            if wanted.is_empty() || !known {
                return Err(format!("{wanted:?} are no choices of {field:?}"));
            }
        }
        Ok(())
    }

    /// Whether a submission with these values is asked for a field.
    pub fn asks(&self, field: &str, values: &Values) -> bool {
        self.question(field)
            .is_some_and(|question| question.when.holds(values))
    }

    /// Whether a submission with these values must fill a field in.
    pub fn demands(&self, field: &str, values: &Values) -> bool {
        self.required(field)
            || self
                .question(field)
                .is_some_and(|question| question.required && question.when.holds(values))
    }

    /// Brings moments into one form, in Asia/Taipei with an offset (see
    /// [`crate::validate::moment`]), and leaves out what is not asked of these values,
    /// except where `kept` names it: that is for validation to point at.
    pub fn settle(&self, values: &mut Values, kept: &[String]) {
        for question in self.questions() {
            let name = &question.name;
            if !question.when.holds(values) && !kept.contains(name) {
                values.remove(name);
            }
        }
        for (name, property) in &self.schema.properties {
            if property.format == Some(Format::DateTime)
                && let Some(Value::String(text)) = values.get_mut(name)
                && let Some(moment) = crate::validate::moment(text)
            {
                *text = moment;
            }
        }
    }

    /// The document as it is published: what must be filled in where it is asked, and what
    /// must be left out where it is not, stands in the schema too (JSON Schema 2020-12,
    /// section 10.2.2), so that whoever reads only that knows it.
    ///
    /// # Errors
    /// Never for a form that was read from a document.
    pub fn document(&self) -> Result<Value, serde_json::Error> {
        let mut document = serde_json::to_value(self)?;
        let mut rules: Vec<(&When, Vec<&str>, Vec<&str>)> = Vec::new();
        for question in self.questions().filter(|one| !one.when.is_empty()) {
            let at = rules.iter().position(|(when, ..)| **when == question.when);
            let at = at.unwrap_or_else(|| {
                rules.push((&question.when, Vec::new(), Vec::new()));
                rules.len() - 1
            });
            rules[at].1.push(&question.name);
            if question.required {
                rules[at].2.push(&question.name);
            }
        }
        let rules: Vec<Value> = rules
            .into_iter()
            .map(|(when, asked, required)| {
                let met: Map<String, Value> = when
                    .fields()
                    .map(|(field, wanted)| (field.to_owned(), json!({ "enum": wanted })))
                    .collect();
                let fields: Vec<&str> = when.fields().map(|(field, _)| field).collect();
                let none: Map<String, Value> = asked
                    .iter()
                    .map(|name| ((*name).to_owned(), Value::Bool(false)))
                    .collect();
                json!({
                    "if": {"properties": met, "required": fields},
                    "then": {"required": required},
                    "else": {"properties": none},
                })
            })
            .collect();
        if !rules.is_empty() {
            document["schema"]["allOf"] = rules.into();
        }
        Ok(document)
    }

    /// All questions, in the order in which they are asked.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        self.layout.iter().flat_map(|step| step.fields.iter())
    }

    /// The question that asks for a field.
    pub fn question(&self, field: &str) -> Option<&Question> {
        self.questions().find(|q| q.name == field)
    }

    /// Whether a submission must fill a field in.
    pub fn required(&self, field: &str) -> bool {
        self.schema.required.iter().any(|name| name == field)
    }

    /// Whether a field holds personal data.
    pub fn personal(&self, field: &str) -> bool {
        self.schema
            .properties
            .get(field)
            .is_some_and(|property| property.personal)
    }

    /// Takes the values apart: what may be kept in clear, and what is personal.
    pub fn split(&self, values: &Values) -> (Values, Values) {
        let mut clear = Values::new();
        let mut personal = Values::new();
        for (name, value) in values {
            let side = if self.personal(name) {
                &mut personal
            } else {
                &mut clear
            };
            side.insert(name.clone(), value.clone());
        }
        (clear, personal)
    }

    /// Reads the fields of one step, or of all, as an HTML form sends them. Empty
    /// controls leave the field out; an absent tick box is `false`. What cannot be
    /// read as the field's type is kept as text, for validation to point at.
    pub fn read(&self, step: Option<usize>, pairs: &[(String, String)]) -> Values {
        let mut values = Values::new();
        let questions: Vec<&Question> = match step {
            Some(index) => self
                .layout
                .get(index)
                .map_or_else(Vec::new, |step| step.fields.iter().collect()),
            None => self.questions().collect(),
        };
        for question in questions {
            let Some(property) = self.schema.properties.get(&question.name) else {
                continue;
            };
            let sent = pairs
                .iter()
                .find(|(name, _)| *name == question.name)
                .map(|(_, value)| value.as_str());
            if let Some(value) = read_value(property, sent) {
                values.insert(question.name.clone(), value);
            }
        }
        values
    }

    /// A value as a control shows it again.
    pub fn show(value: Option<&Value>) -> String {
        match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| Self::show(Some(item)))
                .collect::<Vec<_>>()
                .join("\n"),
            Some(other) => other.to_string(),
        }
    }
}

fn read_value(property: &Property, sent: Option<&str>) -> Option<Value> {
    match property.kind {
        Kind::Boolean => Some(Value::Bool(matches!(sent, Some("true" | "on" | "1")))),
        Kind::Array => {
            let items: Vec<Value> = sent?
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(|line| Value::String(line.to_owned()))
                .collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Kind::Integer | Kind::Number => {
            let text = sent?.trim();
            if text.is_empty() {
                return None;
            }
            let number = text.parse::<i64>().ok().map(Value::from).or_else(|| {
                text.parse::<f64>()
                    .ok()
                    .and_then(serde_json::Number::from_f64)
                    .map(Value::Number)
            });
            Some(number.unwrap_or_else(|| Value::String(text.to_owned())))
        }
        Kind::String => {
            let text = sent?.replace("\r\n", "\n");
            let text = text.trim();
            if property.format == Some(Format::DateTime) {
                let moment = crate::validate::moment(text);
                return (!text.is_empty())
                    .then(|| Value::String(moment.unwrap_or(text.to_owned())));
            }
            (!text.is_empty()).then(|| Value::String(text.to_owned()))
        }
    }
}

fn check_property(property: &Property) -> Result<(), String> {
    if let Some(pattern) = &property.pattern {
        regex::Regex::new(pattern).map_err(|e| format!("pattern {pattern:?}: {e}"))?;
    }
    match (property.kind, &property.items) {
        (Kind::Array, None) => return Err("an array needs items".into()),
        (Kind::Array, Some(items)) if items.kind != Kind::String => {
            return Err("only arrays of strings can be asked".into());
        }
        (Kind::Array, Some(items)) => return check_property(items),
        (_, Some(_)) => return Err("only an array has items".into()),
        _ => {}
    }
    if property.kind != Kind::String
        && (property.format.is_some() || property.pattern.is_some() || !property.choices.is_empty())
    {
        return Err("format, pattern and enum are for strings".into());
    }
    Ok(())
}

/// The forms of all domains, by name and version.
#[derive(Debug, Clone, Default)]
pub struct Forms {
    by_id: BTreeMap<String, BTreeMap<u32, Arc<Form>>>,
}

impl Forms {
    /// Registers one version of one form.
    ///
    /// # Errors
    /// [`FormError`] when the document is wrong or the version is there already.
    pub fn register(&mut self, document: &str) -> Result<(), FormError> {
        let form = Form::parse(document)?;
        let versions = self.by_id.entry(form.id.clone()).or_default();
        if versions.contains_key(&form.version) {
            return Err(FormError::Twice(form.id, form.version));
        }
        versions.insert(form.version, Arc::new(form));
        Ok(())
    }

    /// The newest version of a form: the one on which new cases are written.
    pub fn newest(&self, id: &str) -> Option<Arc<Form>> {
        self.by_id.get(id)?.values().next_back().cloned()
    }

    /// One version of a form.
    pub fn get(&self, id: &str, version: u32) -> Option<Arc<Form>> {
        self.by_id.get(id)?.get(&version).cloned()
    }

    /// The newest version of every form.
    pub fn all(&self) -> Vec<Arc<Form>> {
        self.by_id
            .values()
            .filter_map(|versions| versions.values().next_back().cloned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../tests/data/form.json");

    #[test]
    fn a_document_is_read_and_checked() {
        let form = Form::parse(DOCUMENT).expect("the sample is right");
        assert_eq!(form.id, "sample");
        assert!(form.personal("email"));
        assert!(form.required("name"));
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        for (from, to, expected) in [
            (
                r#""subject": "name""#,
                r#""subject": "nick""#,
                "\"nick\" is required, but no field",
            ),
            (
                r#""name": "name", "label""#,
                r#""name": "nick", "label""#,
                "asked 0 times",
            ),
            (r#""version": 1"#, r#""version": 0"#, "versions begin at 1"),
            (
                r#""pattern": "^[A-Z]""#,
                r#""pattern": "(""#,
                "pattern \"(\"",
            ),
        ] {
            let changed = DOCUMENT.replacen(from, to, 1);
            assert_ne!(changed, DOCUMENT, "{from}");
            let error = Form::parse(&changed).expect_err(to).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(Form::parse("{"), Err(FormError::Json(_))));
    }

    /// The sample with a field that is asked of the large only.
    fn conditional(when: &str) -> String {
        DOCUMENT.replacen(
            r#"{"name": "plan", "label""#,
            &format!(r#"{{"name": "plan", {when} "label""#),
            1,
        )
    }

    #[test]
    fn a_question_may_depend_on_an_earlier_choice() {
        let right = r#""when": {"kind": ["large"]}, "required": true,"#;
        let form = Form::parse(&conditional(right)).expect("right");
        let values = |kind: &str| -> Values {
            let values = json!({"kind": kind, "plan": "x"});
            values.as_object().cloned().expect("an object")
        };
        assert!(form.demands("plan", &values("large")) && !form.asks("plan", &values("small")));
        assert!(!form.asks("plan", &Values::new()), "nothing chosen yet");
        let mut changed = values("small");
        form.settle(&mut changed, &["plan".to_owned()]);
        assert!(changed.contains_key("plan"), "said in the same breath");
        form.settle(&mut changed, &[]);
        assert!(
            !changed.contains_key("plan"),
            "left over from another choice"
        );
        let document = form.document().expect("JSON");
        assert_eq!(
            document["schema"]["allOf"],
            json!([{
                "if": {"properties": {"kind": {"enum": ["large"]}}, "required": ["kind"]},
                "then": {"required": ["plan"]},
                "else": {"properties": {"plan": false}},
            }])
        );
        for (wrong, expected) in [
            (r#""when": {"email": ["x"]},"#, "which no earlier step asks"),
            (r#""when": {"kind": ["huge"]},"#, "are no choices"),
            (r#""when": {"kind": []},"#, "are no choices"),
            (r#""required": true,"#, "is always asked"),
        ] {
            let error = Form::parse(&conditional(wrong)).expect_err(wrong);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn versions_stay_and_the_newest_is_offered() {
        let mut forms = Forms::default();
        forms.register(DOCUMENT).expect("version 1");
        forms
            .register(&DOCUMENT.replacen("\"version\": 1", "\"version\": 2", 1))
            .expect("version 2");
        assert_eq!(forms.newest("sample").expect("there").version, 2);
        assert_eq!(forms.get("sample", 1).expect("kept").version, 1);
        assert!(matches!(
            forms.register(DOCUMENT),
            Err(FormError::Twice(_, 1))
        ));
    }

    #[test]
    fn html_input_becomes_typed_values() {
        let form = Form::parse(DOCUMENT).expect("right");
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let values = form.read(
            None,
            &pairs(&[
                ("name", "  Ada "),
                ("hosts", "a.example\r\n\r\n b.example "),
                ("rps", "12"),
                ("csrf", "x"),
            ]),
        );
        assert_eq!(values["name"], "Ada");
        assert_eq!(
            values["hosts"],
            serde_json::json!(["a.example", "b.example"])
        );
        assert_eq!(values["rps"], 12);
        assert_eq!(values["agree"], false);
        assert!(!values.contains_key("csrf"));
        assert_eq!(form.read(None, &pairs(&[("rps", "many")]))["rps"], "many");
    }
}
