//! Whom an alert concerns: members of the sectors named who run one of the assets
//! named, where any is.

use std::collections::BTreeSet;

use casework::form::Values;
use serde_json::Value;

use crate::cert::{Member, SECTORS, Sector};

/// Whom an alert is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audience {
    /// Sectors; empty: all.
    pub sectors: BTreeSet<Sector>,
    /// Assets in lower case; empty: whatever a member runs.
    pub assets: BTreeSet<String>,
}

impl Audience {
    /// The audience that the form tells; none when it names nobody.
    pub fn of(values: &Values) -> Option<Self> {
        let on = |name: &str| values.get(name).and_then(Value::as_bool) == Some(true);
        let all = on("sector_all");
        let sectors: BTreeSet<Sector> = SECTORS
            .into_iter()
            .filter(|sector| !all && on(&format!("sector_{}", sector.tag())))
            .collect();
        let assets: BTreeSet<String> = values
            .get("assets")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|asset| Some(asset.as_str()?.trim().to_lowercase()))
            .filter(|asset| !asset.is_empty())
            .collect();
        (all || !sectors.is_empty() || !assets.is_empty()).then_some(Self { sectors, assets })
    }

    /// Whether a member belongs to it.
    pub fn includes(&self, member: &Member) -> bool {
        let sector = self.sectors.is_empty() || self.sectors.contains(&member.sector);
        let asset = self.assets.is_empty()
            || member
                .assets
                .iter()
                .any(|asset| self.assets.contains(asset));
        sector && asset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{OrgId, Timestamp};
    use serde_json::json;

    fn values(value: serde_json::Value) -> Values {
        value.as_object().cloned().expect("an object")
    }

    fn member(sector: Sector, assets: &[&str]) -> Member {
        Member {
            org: OrgId::generate(),
            sector,
            assets: assets.iter().map(|asset| (*asset).to_owned()).collect(),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn sectors_and_assets_narrow_each_other() {
        let water = member(Sector::Water, &["scada historian"]);
        let power = member(Sector::Energy, &["scada historian", "turbine guard"]);
        let bank = member(Sector::Finance, &[]);
        for (told, expected) in [
            (json!({"sector_all": true}), [true, true, true]),
            (
                json!({"sector_all": true, "sector_water": true}),
                [true, true, true],
            ),
            (
                json!({"sector_water": true, "sector_energy": false}),
                [true, false, false],
            ),
            (
                json!({"assets": [" SCADA Historian "]}),
                [true, true, false],
            ),
            (
                json!({"sector_energy": true, "assets": ["SCADA historian"]}),
                [false, true, false],
            ),
            (
                json!({"sector_finance": true, "assets": ["turbine guard"]}),
                [false, false, false],
            ),
        ] {
            let audience = Audience::of(&values(told.clone())).expect("somebody");
            let found = [&water, &power, &bank].map(|member| audience.includes(member));
            assert_eq!(found, expected, "{told}");
        }
        assert_eq!(
            Audience::of(&values(json!({"assets": [" "], "sector_all": false}))),
            None
        );
    }
}
