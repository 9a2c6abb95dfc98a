//! The apps' gateway credentials, and what the gateways think of them.

use crate::error::{Error, Result};
use crate::id::AppId;
use crate::on;
use crate::people::device::Environment;
use crate::push::credentials::{Known, NewCredential, Public, Sealed};
use crate::push::message::Gateway;
use crate::push::news::News;
use crate::store::schema::push_credentials;
use crate::store::{Conn, Doc};
use diesel::prelude::*;

type KnownColumns = (String, Doc<Public>, i64, i64, Option<i64>, Option<i64>, Option<String>);

fn known((key_id, public, revision, updated_ms, proven_ms, refused_ms, refused_reason): KnownColumns) -> Known {
    Known { key_id, public: public.0, revision, updated_ms, proven_ms, refused_ms, refused_reason }
}

pub(in crate::push) fn put_credential(
    conn: &mut Conn,
    app: AppId,
    new: &NewCredential,
    (sealed, now_ms): (Vec<u8>, i64),
) -> Result<()> {
    let public = Doc(new.public.clone());
    let fresh = (
        push_credentials::public.eq(&public),
        push_credentials::sealed.eq(&sealed),
        push_credentials::updated_ms.eq(now_ms),
        push_credentials::proven_ms.eq(None::<i64>),
        push_credentials::refused_ms.eq(None::<i64>),
        push_credentials::refused_reason.eq(None::<String>),
    );
    on!(conn, c => diesel::insert_into(push_credentials::table)
        .values((
            push_credentials::app_id.eq(app),
            push_credentials::gateway.eq(new.gateway.word()),
            push_credentials::environment.eq(new.public.environment.name()),
            push_credentials::key_id.eq(new.key_id()),
            // Above all that one of the same name had before it was deleted: what is still heard of that one is not of this one.
            push_credentials::revision.eq(now_ms),
            fresh.clone(),
        ))
        .on_conflict((
            push_credentials::app_id,
            push_credentials::gateway,
            push_credentials::environment,
            push_credentials::key_id,
        ))
        .do_update()
        .set((push_credentials::revision.eq(push_credentials::revision + 1), fresh.clone()))
        .execute(c))?;
    Ok(())
}

/// All of a gateway, by environment and key.
pub(in crate::push) fn credentials(conn: &mut Conn, app: AppId, gateway: Gateway) -> Result<Vec<Known>> {
    let rows: Vec<KnownColumns> = on!(conn, c => push_credentials::table
        .filter(push_credentials::app_id.eq(app).and(push_credentials::gateway.eq(gateway.word())))
        .order((push_credentials::environment, push_credentials::key_id))
        .select((push_credentials::key_id, push_credentials::public, push_credentials::revision, push_credentials::updated_ms,
            push_credentials::proven_ms, push_credentials::refused_ms, push_credentials::refused_reason))
        .load(c))?;
    Ok(rows.into_iter().map(known).collect())
}

/// All of a gateway's world, by key, still sealed.
pub(in crate::push) fn sealed(conn: &mut Conn, app: AppId, of: (Gateway, Environment)) -> Result<Vec<Sealed>> {
    let (gateway, environment) = of;
    let rows: Vec<(String, Doc<Public>, Vec<u8>, i64)> = on!(conn, c => push_credentials::table
        .filter(push_credentials::app_id.eq(app).and(push_credentials::gateway.eq(gateway.word())))
        .filter(push_credentials::environment.eq(environment.name()))
        .order(push_credentials::key_id)
        .select((push_credentials::key_id, push_credentials::public, push_credentials::sealed, push_credentials::revision))
        .load(c))?;
    let read = |(key_id, public, sealed, revision): (String, Doc<Public>, Vec<u8>, i64)| Sealed {
        gateway,
        key_id,
        public: public.0,
        sealed,
        revision,
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Leaves a key these topics alone.
pub(in crate::push) fn keep_topics(conn: &mut Conn, app: AppId, (gateway, known): (Gateway, &Known)) -> Result<()> {
    let (world, public) = (known.public.environment.name(), Doc(known.public.clone()));
    on!(conn, c => diesel::update(push_credentials::table.find((app, gateway.word(), world, &known.key_id)))
        .set((push_credentials::public.eq(&public), push_credentials::revision.eq(push_credentials::revision + 1)))
        .execute(c))?;
    Ok(())
}

pub(in crate::push) fn delete_credential(conn: &mut Conn, app: AppId, (gateway, known): (Gateway, &Known)) -> Result<()> {
    let world = known.public.environment.name();
    on!(conn, c => diesel::delete(push_credentials::table.find((app, gateway.word(), world, &known.key_id))).execute(c))?;
    Ok(())
}

/// Writes what a gateway thinks of a credential, when it is still the one that it was shown. Answers what was stored
/// before as refused since, or `None` when it is another credential by now.
pub(in crate::push) fn note(conn: &mut Conn, news: &News) -> Result<Option<Option<i64>>> {
    // Two nodes that find out at once: one of them is the first.
    conn.serialise(&format!("push_credential:{}:{}:{}", news.app, news.gateway.word(), news.key_id))?;
    let before: Option<Option<i64>> = on!(conn, c => push_credentials::table
        .find((news.app, news.gateway.word(), news.environment.name(), &news.key_id))
        .filter(push_credentials::revision.eq(news.revision))
        .select(push_credentials::refused_ms)
        .get_result(c)
        .optional())?;
    let Some(refused_ms) = before else { return Ok(None) };
    let target = push_credentials::table.find((news.app, news.gateway.word(), news.environment.name(), &news.key_id));
    match &news.refused {
        None => on!(conn, c => diesel::update(target)
            .set((
                push_credentials::proven_ms.eq(news.at_ms),
                push_credentials::refused_ms.eq(None::<i64>),
                push_credentials::refused_reason.eq(None::<String>),
            ))
            .execute(c))?,
        Some(reason) => on!(conn, c => diesel::update(target)
            .set((
                push_credentials::refused_ms.eq(refused_ms.unwrap_or(news.at_ms)),
                push_credentials::refused_reason.eq(reason),
            ))
            .execute(c))?,
    };
    Ok(Some(refused_ms))
}

/// All apps' credentials, as far as their state goes.
pub(in crate::push) fn all(conn: &mut Conn) -> Result<Vec<(Gateway, Known)>> {
    let rows: Vec<(String, KnownColumns)> = on!(conn, c => push_credentials::table
        .select((push_credentials::gateway, (push_credentials::key_id, push_credentials::public, push_credentials::revision,
            push_credentials::updated_ms, push_credentials::proven_ms, push_credentials::refused_ms,
            push_credentials::refused_reason)))
        .load(c))?;
    let read = |(word, columns): (String, KnownColumns)| {
        let gateway = Gateway::parse(&word).ok_or_else(|| Error::broken("a credential of an unknown gateway"))?;
        Ok((gateway, known(columns)))
    };
    rows.into_iter().map(read).collect()
}
