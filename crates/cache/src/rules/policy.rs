//! What a site's owner wants for a path.

use base::delivery::{PathAction, SiteSettings};

/// The settings that apply to one request.
#[derive(Debug, Clone, Copy)]
pub struct SitePolicy<'a> {
    /// The site's settings.
    pub settings: &'a SiteSettings,
    /// The action of the longest path rule that matches.
    pub action: PathAction,
}

impl<'a> SitePolicy<'a> {
    /// Finds the action for `target` (`/path?query`); the query takes no part.
    pub fn new(settings: &'a SiteSettings, target: &str) -> Self {
        let path = target.split('?').next().unwrap_or_default();
        let action = settings
            .path_rules
            .iter()
            .filter(|rule| path.as_bytes().starts_with(rule.prefix.as_bytes()))
            .max_by_key(|rule| rule.prefix.len())
            .map_or(PathAction::Follow, |rule| rule.action);
        Self { settings, action }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::delivery::PathRule;

    #[test]
    fn the_longest_prefix_wins() {
        let rule = |prefix: &str, action| PathRule {
            prefix: prefix.into(),
            action,
        };
        let settings = SiteSettings {
            path_rules: vec![
                rule("/static/", PathAction::ForceTtl { seconds: 60 }),
                rule("/static/live/", PathAction::Bypass),
            ],
            ..SiteSettings::default()
        };
        let action = |target| SitePolicy::new(&settings, target).action;
        assert_eq!(action("/static/live/x?y=/"), PathAction::Bypass);
        assert_eq!(action("/static/x"), PathAction::ForceTtl { seconds: 60 });
        assert_eq!(action("/?/static/"), PathAction::Follow);
    }
}
