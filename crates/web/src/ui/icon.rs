//! Line icons, 24 × 24, drawn in the colour of the text around them.

use super::Markup;

/// An icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name says what it shows")]
pub enum Icon {
    Home,
    Globe,
    Inbox,
    FilePlus,
    Clipboard,
    Server,
    Map,
    Shield,
    Users,
    Building,
    Key,
    List,
    Search,
    Chart,
    Bolt,
    Trash,
    Plus,
    Check,
    Cross,
    Warn,
    Info,
    Clock,
    Download,
    Upload,
    Settings,
    Logout,
    User,
    Sun,
    Moon,
    Menu,
    ArrowRight,
    ArrowLeft,
    External,
    Lock,
    Bell,
    Code,
    Refresh,
}

impl Icon {
    const fn path(self) -> &'static str {
        match self {
            Self::Home => "M4 11l8-7 8 7v9h-5v-6H9v6H4z",
            Self::Globe => {
                "M12 3a9 9 0 100 18 9 9 0 000-18zM3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18"
            }
            Self::Inbox => "M4 13l2-8h12l2 8v6H4zM4 13h5l1 3h4l1-3h5",
            Self::FilePlus => "M6 3h8l5 5v13H6zM14 3v5h5M12 11v6M9 14h6",
            Self::Clipboard => "M6 5h12v16H6zM9 3h6v4H9zM9 12h6M9 16h4",
            Self::Server => "M4 4h16v6H4zM4 14h16v6H4zM8 7h.01M8 17h.01",
            Self::Map => "M9 4L3 6v14l6-2 6 2 6-2V4l-6 2zM9 4v14M15 6v14",
            Self::Shield => "M12 3l8 3v6c0 5-4 8-8 9-4-1-8-4-8-9V6z",
            Self::Users => {
                "M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM2.5 20c0-4 3-6 6.5-6s6.5 2 6.5 6M16 4.5a3.5 3.5 0 010 6.5M18 14.500c2 .8 3.500 2.600 3.500 5.500"
            }
            Self::Building => "M5 21V4h9v17M14 9h5v12M3 21h18M8 8h3M8 12h3M8 16h3",
            Self::Key => "M8 11a4 4 0 100 8 4 4 0 000-8zM11 12l9-9M17 6l3 3M14 9l2 2",
            Self::List => "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
            Self::Search => "M11 4a7 7 0 100 14 7 7 0 000-14zM16 16l5 5",
            Self::Chart => "M4 20V4M4 20h16M8 16v-5M12 16V8M16 16v-3",
            Self::Bolt => "M13 3L5 14h6l-1 7 8-11h-6z",
            Self::Trash => "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
            Self::Plus => "M12 5v14M5 12h14",
            Self::Check => "M5 13l4 4L19 7",
            Self::Cross => "M6 6l12 12M18 6L6 18",
            Self::Warn => "M12 4l9 16H3zM12 10v4M12 17h.01",
            Self::Info => "M12 3a9 9 0 100 18 9 9 0 000-18zM12 11v5M12 8h.01",
            Self::Clock => "M12 3a9 9 0 100 18 9 9 0 000-18zM12 7v5l3 2",
            Self::Download => "M12 4v11M7 11l5 5 5-5M5 20h14",
            Self::Upload => "M12 16V5M7 9l5-5 5 5M5 20h14",
            Self::Settings => "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
            Self::Logout => "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
            Self::User => "M12 12a4 4 0 100-8 4 4 0 000 8zM4 21c0-5 4-7 8-7s8 2 8 7",
            Self::Sun => {
                "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2"
            }
            Self::Moon => "M20 14A8 8 0 0110 4a8 8 0 1010 10z",
            Self::Menu => "M4 6h16M4 12h16M4 18h16",
            Self::ArrowRight => "M5 12h14M13 6l6 6-6 6",
            Self::ArrowLeft => "M19 12H5M11 6l-6 6 6 6",
            Self::External => "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
            Self::Lock => "M6 11h12v9H6zM8 11V8a4 4 0 018 0v3",
            Self::Bell => "M6 17V11a6 6 0 0112 0v6l2 2H4zM10 21h4",
            Self::Code => "M8 7l-5 5 5 5M16 7l5 5-5 5",
            Self::Refresh => "M20 11a8 8 0 10-2 6M20 5v6h-6",
        }
    }
}

/// The icon as HTML; it says nothing to screen readers, so text must stand beside it.
pub fn icon(icon: Icon) -> Markup {
    Markup::new(format!(
        "<svg class=\"icon\" viewBox=\"0 0 24 24\" aria-hidden=\"true\" focusable=\"false\"><path d=\"{}\"/></svg>",
        icon.path()
    ))
}
