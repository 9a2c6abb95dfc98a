//! Apple's kinds of push: each word with its topic's suffix, its size limit and its usual priority.
//!
//! The words are open, since Apple adds some every other year: one that is not in the table goes out as it is written,
//! with the suffix that its author names.

/// A kind of push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind<'a> {
    /// `apns-push-type`.
    pub word: &'a str,
    /// What follows the app's bundle id in `apns-topic`.
    pub suffix: &'a str,
    /// Largest body, in bytes.
    pub limit_bytes: usize,
    /// `apns-priority` when nobody names one.
    pub priority: u8,
    /// What its body has to be.
    pub shape: Shape,
}

/// What a body has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Something that the user sees or hears.
    Shown,
    /// `content-available` and nothing to see.
    Background,
    /// `content-changed` and nothing to see.
    Changed,
    /// Whatever the app expects.
    Free,
}

const USUAL_BYTES: usize = 4_096;
const VOIP_BYTES: usize = 5_120;

const fn kind(word: &'static str, suffix: &'static str, priority: u8, shape: Shape) -> Kind<'static> {
    Kind { word, suffix, limit_bytes: USUAL_BYTES, priority, shape }
}

impl Kind<'static> {
    /// Words, a sound, a badge.
    pub const ALERT: Self = kind("alert", "", 10, Shape::Shown);
    /// Wakes the app, unseen.
    pub const BACKGROUND: Self = kind("background", "", 5, Shape::Background);
    /// Every kind that a message can be. Live Activities have routes of their own.
    pub const ALL: [Self; 9] = [
        Self::ALERT,
        Self::BACKGROUND,
        Self { limit_bytes: VOIP_BYTES, ..kind("voip", ".voip", 10, Shape::Free) },
        kind("complication", ".complication", 10, Shape::Free),
        kind("fileprovider", ".pushkit.fileprovider", 10, Shape::Free),
        kind("location", ".location-query", 10, Shape::Free),
        kind("pushtotalk", ".voip-ptt", 10, Shape::Free),
        kind("widgets", ".push-type.widgets", 5, Shape::Changed),
        kind("controls", ".push-type.controls", 5, Shape::Changed),
    ];
    /// The word of Live Activities.
    pub const LIVE_ACTIVITY: Self = kind("liveactivity", ".push-type.liveactivity", 10, Shape::Free);

    /// The kind of this word, Live Activities included.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::LIVE_ACTIVITY]).find(|kind| kind.word == word)
    }
}

impl<'a> Kind<'a> {
    /// A kind that came after this table.
    pub fn open(word: &'a str, suffix: &'a str) -> Self {
        Self { word, suffix, limit_bytes: USUAL_BYTES, priority: 10, shape: Shape::Free }
    }
}

/// What Apple is told beside the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// `apns-push-type`.
    pub push_type: &'a str,
    /// `apns-priority`: 1, 5 or 10.
    pub priority: u8,
    /// What follows the app's bundle id in `apns-topic`.
    pub suffix: &'a str,
}

impl<'a> Head<'a> {
    /// An alert, at once.
    pub const USUAL: Head<'static> = Head { push_type: "alert", priority: 10, suffix: "" };

    /// Reads what [`Head::text`] wrote; nothing means the usual.
    pub fn read(text: Option<&'a str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::USUAL) };
        let mut words = text.split(' ');
        let (push_type, priority, suffix) = (words.next()?, words.next()?, words.next().unwrap_or(""));
        Some(Self { push_type, priority: priority.parse().ok()?, suffix })
    }

    /// As it is kept with a message: `<push type> <priority>[ <suffix>]`.
    pub fn text(&self) -> String {
        let Self { push_type, priority, suffix } = self;
        let space = if suffix.is_empty() { "" } else { " " };
        format!("{push_type} {priority}{space}{suffix}")
    }
}
