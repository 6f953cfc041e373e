//! The JSON API of the CDN: everything that its pages do.

mod operate;
mod orders;
mod sites;
mod views;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::engine::SiteState;
use crate::room::Desk;

/// Characters of the reason or note that goes with a change.
const NOTE_CHARS_MAX: usize = 100;

/// The API's routes.
pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(sites::list_sites))
        .routes(routes!(sites::get_site))
        .routes(routes!(sites::set_state))
        .routes(routes!(sites::add_host))
        .routes(routes!(sites::remove_host))
        .routes(routes!(sites::list_versions, sites::create_version))
        .routes(routes!(sites::get_version))
        .routes(routes!(sites::activate))
        .routes(routes!(sites::preview))
        .routes(routes!(sites::list_certificates, sites::upload_certificate))
        .routes(routes!(sites::issue_certificate))
        .routes(routes!(sites::remove_certificate))
        .routes(routes!(orders::purge))
        .routes(routes!(orders::preload))
        .routes(routes!(orders::list_orders))
        .routes(routes!(orders::get_order))
        .routes(routes!(orders::site_series))
        .routes(routes!(orders::site_rows))
        .routes(routes!(operate::list_claims, operate::create_claim))
        .routes(routes!(operate::check_claim))
        .routes(routes!(operate::list_nodes))
        .routes(routes!(operate::list_published))
        .routes(routes!(operate::list_drains))
        .routes(routes!(operate::drain, operate::undrain))
        .routes(routes!(
            operate::get_dispatch_map,
            operate::put_dispatch_map
        ))
        .routes(routes!(operate::list_dispatch_maps))
        .with_state(desk)
}
/// The action that a change of state needs besides `site:edit`.
pub(crate) fn action_for(from: SiteState, to: SiteState) -> &'static str {
    if from == SiteState::Deleted || to == SiteState::Deleted {
        "site:delete"
    } else {
        "site:suspend"
    }
}
