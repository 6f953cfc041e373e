//! Applying: choose a form, read what it needs, fill it in step by step. A draft is
//! kept after every step, so that nothing typed is lost.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use base::OrgId;
use serde_json::Value;
use web::ui::{self, Field, Icon, Markup};
use web::{FieldError, FormPairs, Frame, Level, PageForm, Visit, WebError, WebResult};

use crate::body::{Body, hidden, show, show_with};
use crate::case::CaseError;
use crate::engine::{Casework, Opened};
use crate::form::{Form, Question, Step, Values, Widget};
use crate::room::{case_id, field_error, tell, who};
use crate::validate::{Completeness, problems_of_step};

pub(super) async fn choose(State(casework): State<Casework>, visit: Visit) -> WebResult {
    let frame = visit.frame("nav-apply");
    let language = visit.lang.tag();
    let officer = visit.principal.may("case:review", web::Thing::HOUSE);
    let mut forms = casework.forms().all();
    forms.retain(|form| officer || form.begun_by == crate::workflow::Side::Applicant);
    let mut body = Body::new().text(visit.t("apply-intro"));
    if forms.is_empty() {
        body = body.add(ui::empty(
            Icon::FilePlus,
            visit.t("apply-none-title"),
            visit.t("apply-none-text"),
            None,
        ));
    }
    for form in forms {
        let inner = Body::new()
            .text(form.intro.of(language))
            .add(ui::button_link(
                format!("/apply/{}", form.id),
                visit.t("apply-begin"),
            ));
        body = body.section(form.title.of(language), inner);
    }
    show(frame, body)
}

pub(super) async fn intro(
    State(casework): State<Casework>,
    visit: Visit,
    Path(form): Path<String>,
) -> WebResult {
    let form = casework
        .forms()
        .newest(&form)
        .ok_or_else(|| WebError::not_found("form", &form))?;
    show(frame_of(&visit, &form), intro_body(&visit, &form, &[]))
}

fn frame_of(visit: &Visit, form: &Form) -> Frame {
    visit
        .frame_titled(form.title.of(visit.lang.tag()))
        .crumb("/apply", visit.t("nav-apply"))
}

fn intro_body(visit: &Visit, form: &Form, errors: &[FieldError]) -> Body {
    let language = visit.lang.tag();
    let steps: Markup = form
        .layout
        .iter()
        .map(|step| Markup::new(format!("<li>{}</li>", ui::escape(step.title.of(language)))))
        .collect();
    let mut inner = Body::new();
    if form.needs_org {
        let orgs: Vec<(String, String)> = visit
            .principal
            .orgs
            .iter()
            .filter(|badge| visit.principal.may("case:edit", badge.id))
            .map(|badge| {
                (
                    badge.id.to_string(),
                    if language == "en" {
                        badge.name_en.clone()
                    } else {
                        badge.name_zh.clone()
                    },
                )
            })
            .collect();
        if orgs.is_empty() {
            let notice = ui::notice(
                Level::Warn,
                visit.t("apply-no-org-title"),
                visit.t("apply-no-org-text"),
            );
            return Body::new().text(form.intro.of(language)).add(notice);
        }
        let chosen = visit
            .principal
            .org
            .map(|org| org.to_string())
            .unwrap_or_default();
        inner = inner.add(
            Field::select("org", visit.t("apply-org"), orgs)
                .value(chosen)
                .errors(errors)
                .required(),
        );
    }
    let inner = inner
        .add(hidden("key", uuid::Uuid::now_v7()))
        .add(ui::button(visit.t("apply-begin")));
    Body::new()
        .text(form.intro.of(language))
        .heading(visit.t("apply-steps"))
        .add(Markup::new(format!("<ol>{steps}</ol>")))
        .form(
            &visit.frame_titled(""),
            &format!("/apply/{}", form.id),
            inner,
        )
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Begin {
    #[serde(default)]
    org: Option<String>,
    /// Made with the page, so that sending it twice begins one case.
    #[serde(default)]
    key: Option<String>,
}

pub(super) async fn begin(
    State(casework): State<Casework>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(begin): PageForm<Begin>,
) -> WebResult {
    let form = casework
        .forms()
        .newest(&id)
        .ok_or_else(|| WebError::not_found("form", &id))?;
    let org: Option<OrgId> = match begin.org {
        Some(text) => Some(
            text.parse()
                .map_err(|_| WebError::field("org", "format", "must be an organisation"))?,
        ),
        None => None,
    };
    match casework
        .start(
            &who(&visit)?,
            &form.id,
            org,
            Values::new(),
            begin.key.as_deref(),
        )
        .await
    {
        Ok(case) => Ok(visit.to(&format!("/cases/{}/edit/1", case.id))),
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.fields.is_empty() {
                return Err(told);
            }
            show_with(
                StatusCode::UNPROCESSABLE_ENTITY,
                frame_of(&visit, &form),
                intro_body(&visit, &form, &told.fields),
            )
        }
    }
}

pub(super) async fn edit(
    State(casework): State<Casework>,
    visit: Visit,
    Path((case, step)): Path<(String, usize)>,
) -> WebResult {
    let (opened, values) = open(&casework, &visit, &case).await?;
    let at = step_of(&opened.form, step)?;
    show(
        step_frame(&visit, &opened),
        step_body(&visit, &opened, at, step, &values, &[]),
    )
}

async fn open(casework: &Casework, visit: &Visit, case: &str) -> WebResult<(Opened, Values)> {
    let (id, asker) = (case_id(case)?, who(visit)?);
    let opened = casework
        .open(&asker, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    if !opened.editable {
        return Err(WebError::conflict(visit.t("case-not-editable")));
    }
    let values = casework
        .values(&asker, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((opened, values))
}

fn step_of(form: &Form, step: usize) -> WebResult<&Step> {
    step.checked_sub(1)
        .and_then(|index| form.layout.get(index))
        .ok_or_else(|| WebError::not_found("step", step))
}

fn step_frame(visit: &Visit, opened: &Opened) -> Frame {
    visit
        .frame_titled(opened.form.title.of(visit.lang.tag()))
        .crumb("/cases", visit.t("nav-cases"))
        .crumb(
            format!("/cases/{}", opened.case.id),
            format!("#{}", opened.case.number),
        )
}

fn step_body(
    visit: &Visit,
    opened: &Opened,
    step: &Step,
    number: usize,
    values: &Values,
    errors: &[FieldError],
) -> Body {
    let language = visit.lang.tag();
    let total = opened.form.layout.len();
    let case = &opened.case;
    let mut inner = Body::new().add(hidden("version", case.version));
    for question in step.fields.iter().filter(|one| one.when.holds(values)) {
        inner = inner.add(question_field(
            visit,
            &opened.form,
            case.id,
            question,
            values,
            errors,
        ));
    }
    let mut buttons = vec![ui::button(visit.t(if number < total {
        "apply-next"
    } else {
        "apply-finish"
    }))];
    if number > 1 {
        buttons.push(ui::button_link(
            format!("/cases/{}/edit/{}", case.id, number - 1),
            visit.t("apply-back"),
        ));
    }
    buttons.push(ui::button_link(
        format!("/cases/{}", case.id),
        visit.t("apply-later"),
    ));
    inner = inner.group("actions", buttons);
    let mut body = Body::new();
    if !errors.is_empty() {
        body = body.add(ui::notice(
            Level::Bad,
            visit.t("case-errors-title"),
            visit.t("case-errors-text"),
        ));
    }
    body = body
        .text(visit.ta(
            "apply-step",
            &[("step", &number.to_string()), ("total", &total.to_string())],
        ))
        .heading(step.title.of(language));
    let help = step.help.of(language);
    if !help.is_empty() {
        body = body.text(help);
    }
    body.form(
        &visit.frame_titled(""),
        &format!("/cases/{}/edit/{number}", case.id),
        inner,
    )
}

fn question_field(
    visit: &Visit,
    form: &Form,
    case: base::CaseId,
    question: &Question,
    values: &Values,
    errors: &[FieldError],
) -> Markup {
    let language = visit.lang.tag();
    let label = question.label.of(language);
    let name = &question.name;
    let value = values.get(name);
    let shown = Form::show(value);
    let field = match question.widget {
        Widget::Text | Widget::Hostname => Field::text(name, label).value(shown),
        Widget::Paragraph => Field::area(name, label, 5).value(shown),
        Widget::Lines => Field::area(name, label, 4).value(shown),
        Widget::Number => Field::input("number", name, label).value(shown),
        Widget::Date => Field::input("date", name, label).value(shown),
        // The control knows no offset: moments are shown as they were typed, in Asia/Taipei.
        Widget::DateTime => Field::input("datetime-local", name, label)
            .value(shown.chars().take(16).collect::<String>()),
        Widget::Url => Field::input("url", name, label).value(shown),
        Widget::Email => Field::input("email", name, label)
            .value(shown)
            .attribute("autocomplete", "email"),
        Widget::Checkbox => Field::check(name, label, value == Some(&Value::Bool(true))),
        Widget::Select => {
            let mut options = vec![(String::new(), visit.t("case-choose"))];
            let choices = form
                .schema
                .properties
                .get(name)
                .map(|property| property.choices.as_slice())
                .unwrap_or_default();
            options.extend(choices.iter().map(|choice| {
                (
                    choice.clone(),
                    question
                        .options
                        .get(choice)
                        .map_or_else(|| choice.clone(), |text| text.of(language).to_owned()),
                )
            }));
            Field::select(name, label, options).value(shown)
        }
        // A file is added on the case's own page, where it can be removed again.
        Widget::File => {
            return ui::notice(
                Level::Info,
                label,
                Markup::link(format!("/cases/{case}#files"), visit.t("apply-file")),
            );
        }
    };
    let help = question.help.of(language);
    let field = if help.is_empty() {
        field
    } else {
        field.help(help)
    };
    let field = if form.demands(name, values) {
        field
    } else {
        field.optional(visit.t("case-optional"))
    };
    let field = if form.personal(name) {
        field.attribute("data-personal", "true")
    } else {
        field
    };
    field.errors(errors).markup()
}

pub(super) async fn save(
    State(casework): State<Casework>,
    visit: Visit,
    Path((case, step)): Path<(String, usize)>,
    PageForm(pairs): PageForm<FormPairs>,
) -> WebResult {
    let (opened, mut values) = open(&casework, &visit, &case).await?;
    let at = step_of(&opened.form, step)?.clone();
    let version = pairs
        .iter()
        .find(|(name, _)| name == "version")
        .and_then(|(_, text)| text.parse().ok())
        .unwrap_or(0);
    let read = opened.form.read(Some(step - 1), &pairs);
    // What the step asks for and was left empty is taken out.
    let mut changes = Values::new();
    for question in at
        .fields
        .iter()
        .filter(|question| question.widget != Widget::File && question.when.holds(&values))
        .collect::<Vec<_>>()
    {
        let value = read.get(&question.name).cloned().unwrap_or(Value::Null);
        values.remove(&question.name);
        if !value.is_null() {
            values.insert(question.name.clone(), value.clone());
        }
        changes.insert(question.name.clone(), value);
    }
    let wrong = problems_of_step(&opened.form, step - 1, &values, Completeness::Whole);
    let (missing, broken): (Vec<_>, Vec<_>) = wrong
        .into_iter()
        .partition(|problem| matches!(problem.rule, "required" | "must-be-true"));
    let again = |errors: Vec<FieldError>, opened: &Opened| {
        show_with(
            StatusCode::UNPROCESSABLE_ENTITY,
            step_frame(&visit, opened),
            step_body(&visit, opened, &at, step, &values, &errors),
        )
    };
    if !broken.is_empty() {
        let errors = broken
            .iter()
            .chain(&missing)
            .map(|problem| field_error(problem, visit.lang))
            .collect();
        return again(errors, &opened);
    }
    let saved = match casework
        .save(&who(&visit)?, opened.case.id, version, changes)
        .await
    {
        Ok(saved) => saved,
        Err(CaseError::Invalid(problems)) => {
            return again(
                problems
                    .iter()
                    .map(|problem| field_error(problem, visit.lang))
                    .collect(),
                &opened,
            );
        }
        Err(error) => return Err(tell(error, visit.lang)),
    };
    // The draft is kept; what is missing is said now, while the step is in sight.
    if !missing.is_empty() {
        let opened = Opened {
            case: saved,
            ..opened.clone()
        };
        return again(
            missing
                .iter()
                .map(|problem| field_error(problem, visit.lang))
                .collect(),
            &opened,
        );
    }
    if step < opened.form.layout.len() {
        return Ok(visit.to(&format!("/cases/{case}/edit/{}", step + 1)));
    }
    Ok(visit.done(&format!("/cases/{case}"), "apply-saved"))
}
