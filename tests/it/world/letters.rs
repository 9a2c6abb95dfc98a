//! The mails that a test server would send: read from its outbox, as its operator would.

use super::{Tenant, World};

/// A mail as its reader sees it.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The address.
    pub to: String,
    /// The subject line.
    pub subject: String,
    /// The plain text.
    pub text: String,
}

impl Letter {
    /// The link in it.
    pub fn link(&self) -> &str {
        let link = self.text.split_whitespace().find(|word| word.starts_with("http"));
        link.unwrap_or_else(|| panic!("no link in {self:?}"))
    }

    /// The token in its link.
    pub fn token(&self) -> String {
        self.link().split_once("#token=").unwrap_or_else(|| panic!("no token in {self:?}")).1.to_owned()
    }

    /// The code in it.
    pub fn code(&self) -> String {
        let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|b| b.is_ascii_digit());
        self.text.split_whitespace().find(is_code).unwrap_or_else(|| panic!("no code in {self:?}")).to_owned()
    }
}

impl World {
    /// Every mail of an app that can still be read, the newest first.
    pub async fn letters(&self, tenant: &Tenant) -> Vec<Letter> {
        let (platform, app) = (self.kairos.platform.clone(), tenant.id);
        let read = move |conn: &mut _| kairos::mail::newest(conn, &platform.master_key, Some(app), 1_000);
        let shown = self.kairos.platform.store.read(read).await.unwrap();
        let contents = shown.into_iter().filter_map(|shown| shown.content);
        contents.map(|c| Letter { to: c.to, subject: c.subject, text: c.text }).collect()
    }

    /// The newest mail to an address.
    pub async fn letter(&self, tenant: &Tenant, to: &str) -> Letter {
        let all = self.letters(tenant).await;
        all.iter().find(|letter| letter.to == to).unwrap_or_else(|| panic!("no mail to {to}: {all:?}")).clone()
    }
}
