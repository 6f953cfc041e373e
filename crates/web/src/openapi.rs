//! The OpenAPI 3.1 document: what the handlers say, completed with what every
//! operation shares — ways to sign in, and the failures of the frame.

use serde_json::{Value, json};

use crate::problem::{Code, WebError};

/// Completes the document.
///
/// # Errors
/// When it does not serialise.
pub(crate) fn finish(document: &utoipa::openapi::OpenApi, server: &str) -> Result<Value, WebError> {
    let mut document = serde_json::to_value(document).map_err(WebError::internal)?;
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({
        "title": "civicnet",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Everything that the console does. Sign in with a token (`Authorization: Bearer cnt_…`), or from a page of the console with its session and the header `x-csrf-token`.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["servers"] = json!([{ "url": server }]);
    document["components"]["securitySchemes"] = json!({
        "token": { "type": "http", "scheme": "bearer", "description": "an API token, made under Account" },
    });
    document["components"]["schemas"]["Problem"] = schema::<crate::Problem>()?;
    document["components"]["schemas"]["FieldError"] = schema::<crate::FieldError>()?;
    document["security"] = json!([{ "token": [] }]);
    let Some(paths) = document["paths"].as_object_mut() else {
        return Ok(document);
    };
    for item in paths.values_mut() {
        let Some(item) = item.as_object_mut() else {
            continue;
        };
        for method in ["get", "put", "post", "delete", "patch"] {
            if let Some(operation) = item.get_mut(method) {
                complete(operation);
            }
        }
    }
    Ok(document)
}

fn schema<T: utoipa::PartialSchema>() -> Result<Value, WebError> {
    serde_json::to_value(T::schema()).map_err(WebError::internal)
}

fn complete(operation: &mut Value) {
    let body = operation.get("requestBody").is_some();
    for code in Code::ALL {
        if matches!(code, Code::TooLarge | Code::UnsupportedMediaType) && !body {
            continue;
        }
        let status = code.status();
        let key = status.as_u16().to_string();
        if operation["responses"].get(&key).is_none() {
            operation["responses"][&key] = json!({
                "description": status.canonical_reason().unwrap_or("Error"),
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            });
        }
    }
}
