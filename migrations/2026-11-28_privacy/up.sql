-- Rights of people: erasure with a window to undo it, tombstones, merges of an anonymous user into an account.

-- Since when this user is on the way out, erased or merged: nothing is matched, decided or said any more.
alter table users add column leaving_ms bigint;

-- One row per erasure. Its user is named in it until the last of them is gone; what stays says only that it was done.
create table erasures (
    app_id text not null,
    id text not null,
    user_id text,
    -- `user`, or `server:key_…`
    asked_by text not null,
    asked_ms bigint not null,
    due_ms bigint not null,
    state text not null check (state in ('waiting', 'running', 'done', 'restored')),
    -- since when it runs
    began_ms bigint,
    ended_ms bigint,
    primary key (app_id, id)
);
create unique index erasures_user on erasures (app_id, user_id) where user_id is not null;
create index erasures_due on erasures (due_ms) where state in ('waiting', 'running');

-- Keyed hashes of the names of people who are gone: what comes late about them leaves no trace of them.
create table tombstones (
    app_id text not null,
    hash text not null,
    erased_ms bigint not null,
    primary key (app_id, hash)
);

-- An anonymous user who has turned out to be an account's: their id means the account from then on.
create table merges (
    app_id text not null,
    from_id text not null,
    into_id text not null,
    asked_ms bigint not null,
    -- when what decides (devices, choices, consents) moved over, and when all had
    began_ms bigint,
    ended_ms bigint,
    primary key (app_id, from_id)
);
create index merges_into on merges (app_id, into_id);
create index merges_open on merges (asked_ms) where ended_ms is null;

-- What is erased has to be found by its user.
create index positions_user on positions (app_id, user_id) where user_id is not null;
create index place_states_user on place_states (app_id, user_id) where user_id is not null;
create index events_nobody on events (app_id, subject) where user_id is null and thing_id is null;
create index sessions_ended on sessions (ended_ms) where ended_ms is not null;

-- The ledger of a user who is merged goes over to the account, which no update does: its rows are taken out and put in.
-- only sqlite
drop trigger consents_no_delete;
create trigger consents_no_delete before delete on consents
when exists (select 1 from users where users.app_id = old.app_id and users.id = old.user_id)
    and not exists (select 1 from merges where merges.app_id = old.app_id and merges.from_id = old.user_id)
begin
    select raise(abort, 'the consent ledger is append-only');
end;
-- end
-- only postgres
create or replace function kairos_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and (not exists (select 1 from users where users.app_id = old.app_id and users.id = old.user_id)
        or exists (select 1 from merges where merges.app_id = old.app_id and merges.from_id = old.user_id)) then
        return old;
    end if;
    raise exception 'the consent ledger is append-only';
end $$;
-- end
