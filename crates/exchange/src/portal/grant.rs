//! What becomes of applications: checked at every step, provisioned by the last one.

use async_trait::async_trait;
use base::UserId;
use casework::form::Values;
use casework::{Case, CaseError, Grant, Granted};
use serde_json::Value;
use store::{Actor, AuditEntry, Tx};

use super::Portal;

/// The grant of all forms of the exchange.
#[derive(Clone)]
pub struct IxGrant(pub Portal);

pub(super) fn text_of(values: &Values, name: &str) -> String {
    values
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

pub(super) fn number_of(values: &Values, name: &str) -> Option<i64> {
    let value = values.get(name)?;
    // 64501.0 is how some clients write a whole number.
    value.as_i64().or_else(|| {
        value
            .as_f64()
            .filter(|n| n.fract() == 0.0)
            .map(|n| n as i64)
    })
}

pub(super) fn on(values: &Values, name: &str) -> bool {
    values.get(name).and_then(Value::as_bool).unwrap_or(false)
}

#[async_trait]
impl Grant for IxGrant {
    async fn check(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        action: &str,
    ) -> Result<(), CaseError> {
        if !matches!(action, "submit" | "approve" | "grant") {
            return Ok(());
        }
        let org = case.org.ok_or(CaseError::NeedsOrg)?;
        match case.form.as_str() {
            "ix-join" => self.0.plan_join(tx, values).await.map(drop)?,
            _ => self.0.plan_change(tx, org, &case.form, values).await?,
        }
        Ok(())
    }

    async fn grant(
        &self,
        tx: &mut Tx,
        case: &Case,
        values: &Values,
        by: UserId,
    ) -> Result<Granted, CaseError> {
        let org = case.org.ok_or(CaseError::NeedsOrg)?;
        let (asn, made) = match case.form.as_str() {
            "ix-join" => self.0.join(tx, case, org, values, by).await?,
            form => self.0.change(tx, org, form, values, by).await?,
        };
        let mut entry = AuditEntry::new(
            Actor::User(by),
            format!("exchange.provision.{}", case.form),
            format!("case:{}", case.id),
        )
        .detail(made);
        entry.org = Some(org);
        tx.audit(entry).await?;
        let path = match case.form.as_str() {
            "ix-leave" => "/peering".to_owned(),
            "ix-join" | "ix-port" | "ix-session" => format!("/peering/{asn}/configuration"),
            _ => format!("/peering/{asn}"),
        };
        Ok(Granted {
            subject: format!("AS{asn}"),
            path,
        })
    }

    async fn granted(&self) {
        // What is wanted of route servers has changed.
        self.0.protect.tell_changed();
    }
}
