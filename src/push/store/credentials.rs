//! The apps' gateway credentials.

use crate::error::Result;
use crate::id::AppId;
use crate::on;
use crate::push::credentials::{NewCredential, Public, Sealed};
use crate::push::message::Gateway;
use crate::push::route::Route;
use crate::store::schema::push_credentials;
use crate::store::{Conn, Doc};
use diesel::prelude::*;

pub(in crate::push) fn put_credential(
    conn: &mut Conn,
    app: AppId,
    new: &NewCredential,
    (sealed, now_ms): (Vec<u8>, i64),
) -> Result<()> {
    let public = Doc(new.public.clone());
    on!(conn, c => diesel::insert_into(push_credentials::table)
        .values((
            push_credentials::app_id.eq(app),
            push_credentials::gateway.eq(new.gateway.word()),
            push_credentials::environment.eq(new.public.environment.name()),
            push_credentials::public.eq(&public),
            push_credentials::sealed.eq(&sealed),
            push_credentials::revision.eq(1_i64),
            push_credentials::updated_ms.eq(now_ms),
        ))
        .on_conflict((push_credentials::app_id, push_credentials::gateway, push_credentials::environment))
        .do_update()
        .set((
            push_credentials::public.eq(&public),
            push_credentials::sealed.eq(&sealed),
            push_credentials::revision.eq(push_credentials::revision + 1),
            push_credentials::updated_ms.eq(now_ms),
        ))
        .execute(c))?;
    Ok(())
}

pub(in crate::push) fn credentials(conn: &mut Conn, app: AppId, gateway: Gateway) -> Result<Vec<(Public, i64)>> {
    let rows: Vec<(Doc<Public>, i64)> = on!(conn, c => push_credentials::table
        .filter(push_credentials::app_id.eq(app).and(push_credentials::gateway.eq(gateway.word())))
        .order(push_credentials::environment)
        .select((push_credentials::public, push_credentials::updated_ms))
        .load(c))?;
    Ok(rows.into_iter().map(|(public, updated_ms)| (public.0, updated_ms)).collect())
}

pub(in crate::push) fn sealed(conn: &mut Conn, app: AppId, route: Route) -> Result<Option<Sealed>> {
    let row: Option<(Doc<Public>, Vec<u8>)> = on!(conn, c => push_credentials::table
        .filter(push_credentials::app_id.eq(app).and(push_credentials::gateway.eq(route.gateway.word())))
        .filter(push_credentials::environment.eq(route.environment.name()))
        .select((push_credentials::public, push_credentials::sealed))
        .get_result(c)
        .optional())?;
    Ok(row.map(|(public, sealed)| Sealed { public: public.0, sealed }))
}

pub(in crate::push) fn delete_credentials(conn: &mut Conn, app: AppId, gateway: Gateway) -> Result<bool> {
    let rows = on!(conn, c => diesel::delete(push_credentials::table
            .filter(push_credentials::app_id.eq(app).and(push_credentials::gateway.eq(gateway.word()))))
        .execute(c))?;
    Ok(rows > 0)
}
