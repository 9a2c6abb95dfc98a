-- Moving in from another system: password hashes of its making, and imports of users and devices.

-- What is known of an address that the app's back end has brought in: the hash of the other system, until its user has
-- signed in with it, or none. It is the account's claim of the address, as a password is.
create table foreign_passwords (
    app_id text not null,
    user_id text not null,
    email text not null,
    -- a keyed hash of the address: neighbours by it are neighbours by chance
    place text not null,
    sealed bytea,
    created_ms bigint not null,
    primary key (app_id, user_id)
);
create unique index foreign_passwords_email on foreign_passwords (app_id, email);
create index foreign_passwords_place on foreign_passwords (app_id, place) where sealed is not null;

-- == import: jobs, and the lines that they have still to work on ==
create table imports (
    app_id text not null references apps (id),
    id text not null,
    kind text not null check (kind in ('users', 'devices')),
    state text not null check (state in ('receiving', 'waiting', 'running', 'done')),
    -- keyed hashes of the caller's Idempotency-Key and of the body that came with it
    key_hash text,
    body_hash text not null,
    lines bigint not null,
    done bigint not null,
    created bigint not null,
    updated bigint not null,
    failed bigint not null,
    errors text not null,
    created_ms bigint not null,
    -- when lines of it were last received or worked on: jobs take turns by it
    worked_ms bigint not null,
    finished_ms bigint,
    primary key (app_id, id)
);
create unique index imports_key on imports (app_id, kind, key_hash);
create index imports_open on imports (worked_ms, app_id, id) where finished_ms is null;
create index imports_finished on imports (app_id, finished_ms);

-- Lines that wait, sealed with the master key; deleted in the transaction that works on them.
create table import_chunks (
    app_id text not null,
    import_id text not null,
    seq bigint not null,
    -- the number of its first line in the body, from 1
    first_line bigint not null,
    lines bigint not null,
    lines_sealed bytea not null,
    primary key (app_id, import_id, seq)
);
