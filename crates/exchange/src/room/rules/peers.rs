//! What must hold for sessions, members and maintenance windows.

use serde_json::Value;
use store::Tx;

use super::{Rules, id, text};
use crate::room::keep::Wanted;
use crate::room::things::Values;
use crate::room::{Kind, RoomError};

impl Rules<'_> {
    pub(super) async fn session(&mut self, tx: &mut Tx, values: &Values) -> Result<(), RoomError> {
        let family = match text(values, "family") {
            "ipv6" => "v6",
            _ => "v4",
        };
        let router = self.read(tx, Kind::Router, id(values, "router")).await?;
        let Some(router) = router else { return Ok(()) };
        let bilateral = text(values, "type") == "bilateral";
        let (name, other, kind) = match bilateral {
            true => ("peer", "route_server", Kind::Router),
            false => ("route_server", "peer", Kind::RouteServer),
        };
        if id(values, other).is_some() {
            self.wrong(
                other,
                "",
                "type",
                "這種連線不需要這一項",
                "has no place in a session of this type",
            );
        }
        let Some(far) = self.read(tx, kind, id(values, name)).await? else {
            self.wrong(name, "", "required", "必須選擇", "must have a value");
            return Ok(());
        };
        for (field, end) in [("router", &router), (name, &far)] {
            if end.text(family).is_empty() {
                self.wrong(
                    field,
                    &end.label,
                    "family",
                    "沒有這種位址",
                    "has no address of this family",
                );
            }
        }
        if router.text("lan") != far.text("lan") {
            self.wrong(
                name,
                &far.label,
                "lan",
                "兩端不在同一個網段",
                "both ends must stand on one LAN",
            );
        }
        if bilateral && router.text("member") == far.text("member") {
            self.wrong(
                "peer",
                &far.label,
                "member",
                "必須是另一個成員的路由器",
                "must be a router of another member",
            );
        }
        if bilateral {
            let wanted = Wanted {
                fields: vec![
                    ("router", far.id.to_string()),
                    ("peer", router.id.to_string()),
                    ("family", text(values, "family").to_owned()),
                ],
                ..Wanted::default()
            };
            let same = self.exchange.select_in(tx, Kind::Session, &wanted).await?;
            if let Some(same) = same.iter().find(|same| same.id != self.own) {
                let label = same.label.clone();
                self.wrong(
                    "peer",
                    &label,
                    "conflict",
                    "這條連線已由另一端登記",
                    "the session is there already, from the other end",
                );
            }
        }
        Ok(())
    }

    pub(super) async fn member(&mut self, tx: &mut Tx, values: &Values) -> Result<(), RoomError> {
        let (joined, left) = (text(values, "joined_on"), text(values, "left_on"));
        if !joined.is_empty() && !left.is_empty() && left < joined {
            let left = left.to_owned();
            self.wrong(
                "left_on",
                &left,
                "order",
                "必須在加入之後",
                "must not be before it joined",
            );
        }
        let Some(site) = self
            .read(tx, Kind::Site, id(values, "preferred_site"))
            .await?
        else {
            return Ok(());
        };
        let wanted = Wanted {
            fields: vec![
                ("member", self.own.to_string()),
                ("site", site.id.to_string()),
            ],
            ..Wanted::default()
        };
        let there = self.exchange.select_in(tx, Kind::Router, &wanted).await?;
        if there.is_empty() {
            self.wrong(
                "preferred_site",
                &site.label,
                "no-router",
                "這個成員在該據點沒有路由器",
                "must be a site where the member has a router",
            );
        }
        Ok(())
    }

    pub(super) fn maintenance(&mut self, values: &Values) {
        let at = |name: &str| values.get(name).and_then(Value::as_i64);
        if at("ends_at") <= at("starts_at") {
            self.wrong(
                "ends_at",
                "",
                "order",
                "必須在開始之後",
                "must be after its beginning",
            );
        }
        let places = ["site", "switch", "member"];
        if places.iter().all(|name| id(values, name).is_none()) {
            self.wrong(
                "site",
                "",
                "required",
                "請選擇據點、交換器或成員",
                "must name a site, a switch or a member",
            );
        }
        if values.get("drain") == Some(&Value::Bool(true)) && id(values, "site").is_none() {
            self.wrong(
                "drain",
                "true",
                "site",
                "要引流必須選擇據點",
                "draining needs a site",
            );
        }
    }
}
