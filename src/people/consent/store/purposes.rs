//! An app's purposes and their texts in the database.

use crate::error::{Error, Result};
use crate::id::AppId;
use crate::on;
use crate::people::consent::purpose::{Basis, Class, Declared, Purpose, Purposes, Version};
use crate::people::consent::text::{Local, Text};
use crate::store::schema::{purpose_versions, purposes};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn basis(word: &str) -> Result<Basis> {
    [Basis::Consent, Basis::Contract]
        .into_iter()
        .find(|b| b.name() == word)
        .ok_or_else(|| Error::broken(format!("unknown basis {word}")))
}

pub(in crate::people::consent) fn purposes(conn: &mut Conn, app: AppId) -> Result<Purposes> {
    let declared: Vec<(String, String)> = on!(conn, c => purposes::table
        .filter(purposes::app_id.eq(app))
        .select((purposes::key, purposes::basis))
        .load(c))?;
    let published: Vec<(String, String, bool)> = on!(conn, c => purpose_versions::table
        .filter(purpose_versions::app_id.eq(app))
        .order((purpose_versions::published_ms, purpose_versions::version))
        .select((purpose_versions::purpose, purpose_versions::version, purpose_versions::re_ask))
        .load(c))?;
    let mut versions: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    for (purpose, version, re_ask) in published {
        versions.entry(purpose).or_default().push(Version { version, re_ask });
    }
    let mut all = Vec::new();
    for (key, word) in declared {
        let versions = versions.remove(&key).unwrap_or_default();
        all.push((key, Purpose { basis: basis(&word)?, versions }));
    }
    // What is left are the app's own texts of built-in purposes.
    all.extend(versions.into_iter().map(|(key, versions)| (key, Purpose { basis: Basis::Consent, versions })));
    Ok(Purposes::new(all))
}

pub(in crate::people::consent) fn declared(conn: &mut Conn, app: AppId) -> Result<Vec<Declared>> {
    type Columns = ((String, String, String, i64), (Doc<BTreeSet<String>>, Doc<BTreeSet<String>>, bool));
    let rows: Vec<Columns> = on!(conn, c => purposes::table
        .filter(purposes::app_id.eq(app))
        .order(purposes::key)
        .select((
            (purposes::key, purposes::name, purposes::basis, purposes::created_ms),
            (purposes::categories, purposes::personal_data, purposes::sale_or_share),
        ))
        .load(c))?;
    let declared = |((key, name, word, created_ms), (categories, personal_data, sale_or_share)): Columns| {
        let class = Class { categories: categories.0, personal_data: personal_data.0, sale_or_share };
        Ok(Declared { key, name, basis: basis(&word)?, created_ms, class })
    };
    rows.into_iter().map(declared).collect()
}

pub(in crate::people::consent) fn declare(conn: &mut Conn, app: AppId, purpose: &Declared) -> Result<()> {
    on!(conn, c => diesel::insert_into(purposes::table)
        .values((
            purposes::app_id.eq(app),
            purposes::key.eq(&purpose.key),
            purposes::name.eq(&purpose.name),
            purposes::basis.eq(purpose.basis.name()),
            purposes::created_ms.eq(purpose.created_ms),
            purposes::categories.eq(Doc(purpose.class.categories.clone())),
            purposes::personal_data.eq(Doc(purpose.class.personal_data.clone())),
            purposes::sale_or_share.eq(purpose.class.sale_or_share),
        ))
        .execute(c))?;
    Ok(())
}

/// Writes the name and class of a declared purpose.
pub(in crate::people::consent) fn update(conn: &mut Conn, app: AppId, purpose: &Declared) -> Result<()> {
    on!(conn, c => diesel::update(purposes::table.filter(purposes::app_id.eq(app).and(purposes::key.eq(&purpose.key))))
        .set((
            purposes::name.eq(&purpose.name),
            purposes::categories.eq(Doc(purpose.class.categories.clone())),
            purposes::personal_data.eq(Doc(purpose.class.personal_data.clone())),
            purposes::sale_or_share.eq(purpose.class.sale_or_share),
        ))
        .execute(c))?;
    Ok(())
}

/// The published texts, of one purpose or of all, oldest first.
pub(in crate::people::consent) fn texts(conn: &mut Conn, app: AppId, purpose: Option<&str>) -> Result<Vec<Text>> {
    type Columns = (String, String, Doc<BTreeMap<String, String>>, bool, i64, Option<i64>, Doc<BTreeMap<String, Local>>);
    let rows: Vec<Columns> = on!(conn, c => {
        let mut query = purpose_versions::table
            .filter(purpose_versions::app_id.eq(app))
            .order((purpose_versions::published_ms, purpose_versions::version))
            .select((purpose_versions::purpose, purpose_versions::version, purpose_versions::texts, purpose_versions::re_ask,
                purpose_versions::published_ms, purpose_versions::valid_ms, purpose_versions::jurisdictions))
            .into_boxed();
        if let Some(key) = purpose {
            query = query.filter(purpose_versions::purpose.eq(key));
        }
        query.load(c)
    })?;
    let text = |(purpose, version, texts, re_ask, published_ms, valid_ms, jurisdictions): Columns| Text {
        purpose,
        version,
        texts: texts.0,
        re_ask,
        published_ms,
        valid_ms,
        jurisdictions: jurisdictions.0,
    };
    Ok(rows.into_iter().map(text).collect())
}

pub(in crate::people::consent) fn publish(conn: &mut Conn, app: AppId, text: &Text) -> Result<()> {
    on!(conn, c => diesel::insert_into(purpose_versions::table)
        .values((
            purpose_versions::app_id.eq(app),
            purpose_versions::purpose.eq(&text.purpose),
            purpose_versions::version.eq(&text.version),
            purpose_versions::texts.eq(Doc(text.texts.clone())),
            purpose_versions::re_ask.eq(text.re_ask),
            purpose_versions::published_ms.eq(text.published_ms),
            purpose_versions::valid_ms.eq(text.valid_ms),
            purpose_versions::jurisdictions.eq(Doc(text.jurisdictions.clone())),
        ))
        .execute(c))?;
    Ok(())
}
