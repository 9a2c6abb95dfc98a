-- Direct pushes by an app's own back end: what was asked for, how far it is, whom it still has to visit.
create table pushes (
    app_id text not null references apps (id),
    id text not null,
    name text,
    -- scheduled, running, done, cancelled
    state text not null check (state = 'done' or state = 'running' or state = 'scheduled' or state = 'cancelled'),
    test boolean not null,
    -- purpose, class, words, times, and what kind of audience: never who is in it
    spec text not null,
    -- the places in the caller's list behind which there was nobody, and why
    unknown text not null,
    -- keyed hashes of the caller's Idempotency-Key and of what came with it
    key_hash text,
    body_hash text not null,
    -- users whom the walk has come to, and those of them who are not in the audience, by reason
    visited bigint not null,
    outside text not null,
    -- what has ended: figures, and the last user whom they count
    settled text not null,
    cursor_user_id text,
    due_ms bigint not null,
    created_ms bigint not null,
    ended_ms bigint,
    primary key (app_id, id)
);
create unique index pushes_key on pushes (app_id, key_hash) where key_hash is not null;
create index pushes_open on pushes (app_id, id) where ended_ms is null;

-- Walks through an audience, gone with the end of their push: one at an instant, one for each zone at a wall-clock time.
create table push_runs (
    app_id text not null,
    push_id text not null,
    -- '*' everybody; '?' looks for zones that have appeared; else the users of a zone
    zone text not null,
    due_ms bigint not null,
    cursor_user_id text,
    done boolean not null,
    primary key (app_id, push_id, zone)
);
create index push_runs_due on push_runs (due_ms, app_id, push_id) where done = false;

-- Those whom a list names and about whom nothing is decided yet.
create table push_targets (
    app_id text not null,
    push_id text not null,
    user_id text not null,
    -- ids of the devices that alone are meant; absent: all of the user's
    devices text,
    primary key (app_id, push_id, user_id)
);
create index push_targets_user on push_targets (app_id, user_id);
