-- The whole first schema, one text for SQLite and PostgreSQL.
-- ids: text `xxx_<32 hex>`; documents: JSON text; times: bigint UTC milliseconds, named *_ms.
-- Every table leads with app_id, user rows with (app_id, user_id), so that they can be distributed by that key.
-- A check of a table that every event or push writes compares word by word: for a list of more than two SQLite builds a
-- table of its own at each write.

-- == app ==
create table apps (
    id text primary key,
    name text not null,
    settings text not null,
    revision bigint not null,
    created_ms bigint not null
);

create table api_keys (
    app_id text not null references apps (id),
    id text not null,
    kind text not null check (kind in ('publishable', 'server', 'partner')),
    mode text not null check (mode in ('live', 'test')),
    name text not null,
    partner_id text,
    scopes text not null,
    prefix text not null,
    secret_hash text not null unique,
    created_ms bigint not null,
    expires_ms bigint,
    last_used_ms bigint,
    revoked_ms bigint,
    primary key (app_id, id)
);

-- Keys that sign our own tokens; the private part is sealed with the master key.
create table signing_keys (
    kid text primary key,
    sealed bytea not null,
    public_jwk text not null,
    created_ms bigint not null,
    retired_ms bigint
);

-- == platform: epochs by which one room tells another that what it knew has changed ==
create table epochs (
    app_id text not null,
    scope text not null check (scope in ('consent', 'app_consent')),
    key text not null,
    value bigint not null,
    primary key (app_id, scope, key)
);


-- == people ==
create table users (
    app_id text not null references apps (id),
    id text not null,
    external_id text,
    anonymous boolean not null,
    attributes text not null,
    locale text,
    -- chosen by the user
    time_zone text,
    -- what local times of this user mean: chosen, else the latest device's, else '' for the app's
    zone text not null,
    disabled boolean not null,
    revision bigint not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    primary key (app_id, id)
);
create unique index users_external on users (app_id, external_id);
create index users_zone on users (app_id, zone, id);

create table passwords (
    app_id text not null,
    user_id text not null,
    email text not null,
    password_hash text not null,
    changed_ms bigint not null,
    primary key (app_id, user_id)
);
-- An e-mail is a claim until it is verified: several accounts may name it, each with a password of its own.
create unique index passwords_email on passwords (app_id, email, password_hash);

create table sessions (
    app_id text not null,
    id text not null,
    user_id text not null,
    mode text not null check (mode in ('live', 'test')),
    -- the newest refresh token that was presented: it and its child are valid, older ones are dead
    generation bigint not null,
    generation_ms bigint not null,
    -- what its user calls it, and the client that began it: by these they know their sessions apart
    name text,
    user_agent text,
    -- how its user proved who they are (words of RFC 8176, separated by blanks), and when
    amr text not null,
    auth_ms bigint not null,
    created_ms bigint not null,
    last_used_ms bigint not null,
    ended_ms bigint,
    end_reason text,
    primary key (app_id, id)
);
create index sessions_user on sessions (app_id, user_id);

create table attributes (
    app_id text not null,
    scope text not null check (scope in ('user', 'thing')),
    key text not null,
    kind text not null check (kind in ('string', 'number', 'boolean', 'time', 'list')),
    settle_ms bigint,
    created_ms bigint not null,
    primary key (app_id, scope, key)
);

create table purposes (
    app_id text not null,
    key text not null,
    name text not null,
    basis text not null check (basis in ('consent', 'contract')),
    created_ms bigint not null,
    primary key (app_id, key)
);

create table purpose_versions (
    app_id text not null,
    purpose text not null,
    version text not null,
    texts text not null,
    re_ask boolean not null,
    published_ms bigint not null,
    primary key (app_id, purpose, version)
);

create table topics (
    app_id text not null,
    key text not null,
    name text not null,
    default_on boolean not null,
    critical boolean not null,
    created_ms bigint not null,
    primary key (app_id, key)
);

-- Append-only: what was granted or withdrawn, where, when, in which words. A row goes only after its user.
create table consents (
    app_id text not null,
    id text not null,
    user_id text not null,
    -- the order in which this user's rows were committed: 1, 2, 3, …
    seq bigint not null,
    purpose text not null,
    channel text,
    partner_id text,
    granted boolean not null,
    text_version text,
    evidence text not null,
    -- who made the choice known: `user`, or `server:key_…` for what an app's back end brought in
    source text not null,
    at_ms bigint not null,
    primary key (app_id, id)
);
create unique index consents_user on consents (app_id, user_id, seq);

create table preferences (
    app_id text not null,
    user_id text not null,
    topics text not null,
    channels text not null,
    quiet_hours text,
    frequency text,
    pause_until_ms bigint,
    revision bigint not null,
    primary key (app_id, user_id)
);

create table devices (
    app_id text not null,
    id text not null,
    installation_id text not null,
    user_id text,
    platform text not null check (platform in ('ios', 'android', 'web')),
    token text,
    environment text not null check (environment in ('production', 'sandbox')),
    topic text,
    locale text,
    time_zone text,
    push_permission text not null check (push_permission in ('granted', 'denied', 'provisional', 'not_determined')),
    app_version text,
    -- when this token was registered: a gateway's verdict older than this says nothing about it
    token_ms bigint,
    -- the session that registered it last: when it ends, the token goes
    session_id text,
    last_seen_ms bigint not null,
    created_ms bigint not null,
    primary key (app_id, id)
);
-- One row per user of an installation; at most one of them holds a token.
create unique index devices_installation on devices (app_id, installation_id, user_id);
create unique index devices_token on devices (app_id, platform, token) where token is not null;
create index devices_user on devices (app_id, user_id);

-- == event: the log, things, links ==
create table event_types (
    app_id text not null,
    type text not null,
    json_schema text,
    max_useful_age_ms bigint,
    -- whether a moment kind is triggered by it; nobody's events are settled at once as `no_trigger`
    listened boolean not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    primary key (app_id, type)
);

create table things (
    app_id text not null,
    id text not null,
    key text not null,
    class text,
    properties text not null,
    -- per declared property: the value held, since when, and the newest event judged
    held text not null,
    seen_ms bigint,
    created_ms bigint not null,
    primary key (app_id, id)
);
create unique index things_key on things (app_id, key);

create table links (
    app_id text not null,
    id text not null,
    thing_id text not null,
    user_id text not null,
    -- set when a partner made the link: matched only under the user's `partner_events` × partner
    partner_id text,
    kind text not null,
    starts_ms bigint,
    ends_ms bigint,
    created_ms bigint not null,
    primary key (app_id, id)
);
create unique index links_pair on links (app_id, thing_id, user_id, kind);
create index links_user on links (app_id, user_id);

create table events (
    app_id text not null,
    id text not null,
    -- who sent it: `app:usr_…`, `app:dev_…`, `server`, `partner:ptn_…`, or `kairos` for what we derived
    source text not null,
    external_id text not null,
    type text not null,
    occurred_ms bigint not null,
    received_ms bigint not null,
    subject text,
    user_id text,
    thing_id text,
    device_id text,
    partner_id text,
    place_id text,
    -- the event that this one was derived from
    cause_id text,
    properties text not null,
    lat double precision,
    lon double precision,
    accuracy_m double precision,
    content_hash text not null,
    -- sent with a test key, or derived from such an event
    test boolean not null,
    disposition text check (disposition = 'no_trigger' or disposition = 'decided' or disposition = 'joined'
        or disposition = 'no_consent' or disposition = 'too_old' or disposition = 'from_the_future'
        or disposition = 'unknown_subject' or disposition = 'cool_down' or disposition = 'failed'),
    decision_ids text,
    settled_ms bigint,
    primary key (app_id, id)
);
create unique index events_external on events (app_id, source, test, external_id);
create index events_user on events (app_id, user_id, id);
-- raw fixes of people, to be forgotten
create index events_fixes on events (app_id, received_ms) where lat is not null and user_id is not null;

-- Duplicates, conflicts, events out of their time and those that failed, counted against their source.
create table event_counts (
    app_id text not null,
    source text not null,
    disposition text not null,
    n bigint not null,
    primary key (app_id, source, disposition)
);

-- What the lanes have to judge: one row per (event, user), in the user's lane, in id order.
create table lane_work (
    id text primary key,
    app_id text not null,
    lane bigint not null,
    user_id text not null,
    event_id text not null,
    -- the link by which a thing's event reached this user, when a partner made it
    link_partner_id text
);

-- == place ==
create table places (
    app_id text not null,
    id text not null,
    key text,
    name text not null,
    kind text not null check (kind in ('circle', 'polygon')),
    lat double precision,
    lon double precision,
    radius_m double precision,
    geometry text,
    tags text not null,
    opening_hours text,
    dwell_ms bigint not null,
    stale_after_ms bigint not null,
    revision bigint not null,
    -- when its shape last changed: an older fix is no sight of this place
    shaped_ms bigint not null,
    created_ms bigint not null,
    primary key (app_id, id)
);
create unique index places_key on places (app_id, key);

-- Moves with every change of a place: what is in memory is as new as this number.
create table place_revisions (
    app_id text primary key,
    revision bigint not null
);

-- Which places the last changes were of, so that the others need not be read again. A change that is not here was of many.
create table place_changes (
    app_id text not null,
    revision bigint not null,
    place_id text not null,
    primary key (app_id, revision, place_id)
);

-- The newest fix judged of a subject; what test keys say of it is kept apart, under `test:` and its id.
create table positions (
    app_id text not null,
    subject_id text not null,
    user_id text,
    at_ms bigint not null,
    -- of people: null once the retention is over
    lat double precision,
    lon double precision,
    accuracy_m double precision,
    -- when it was seen how well, so that a place knows its first sight
    sights text not null,
    primary key (app_id, subject_id)
);

-- Where a subject stands with a place, kept while it is inside or half-way in or out.
create table place_states (
    app_id text not null,
    subject_id text not null,
    place_id text not null,
    user_id text,
    -- the partner that sent the positions of this visit
    partner_id text,
    state text not null,
    due_ms bigint,
    primary key (app_id, subject_id, place_id)
);
create index place_states_due on place_states (due_ms);

-- == partner and campaign ==
create table partners (
    app_id text not null,
    id text not null,
    name text not null,
    created_ms bigint not null,
    primary key (app_id, id)
);

create table moment_kinds (
    app_id text not null,
    key text not null,
    spec text not null,
    revision bigint not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    primary key (app_id, key)
);

create table offers (
    app_id text not null,
    id text not null,
    partner_id text,
    name text not null,
    spec text not null,
    stock bigint,
    stock_reserved bigint not null,
    archived boolean not null,
    revision bigint not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    primary key (app_id, id),
    check (stock is null or stock_reserved <= stock),
    check (stock_reserved >= 0)
);

-- Moves with every change of what a catalogue in memory holds: kinds, offers, live campaigns.
create table catalogues (
    app_id text primary key,
    revision bigint not null
);

create table campaigns (
    app_id text not null,
    id text not null,
    name text not null,
    status text not null check (status in ('draft', 'live', 'paused', 'ended')),
    spec text not null,
    revision bigint not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    primary key (app_id, id)
);

-- A scheduled campaign's walk through its audience: one row per zone ('*' for an instant), with a durable cursor.
create table campaign_runs (
    app_id text not null,
    campaign_id text not null,
    zone text not null,
    due_ms bigint not null,
    cursor_user_id text,
    state text not null check (state in ('waiting', 'walking', 'done', 'cancelled')),
    visited bigint not null,
    primary key (app_id, campaign_id, zone)
);
create index campaign_runs_due on campaign_runs (state, due_ms);

-- == moment ==
create table moments (
    app_id text not null,
    id text not null,
    user_id text not null,
    kind text not null,
    key text not null,
    event_id text not null,
    opened_ms bigint not null,
    closes_ms bigint not null,
    -- opened by an event of a test key: nothing live joins it or is superseded by it
    test boolean not null,
    context text not null,
    primary key (app_id, id)
);
create index moments_user on moments (app_id, user_id, kind, key, closes_ms);

create table decisions (
    app_id text not null,
    id text not null,
    user_id text not null,
    event_id text,
    moment_id text,
    campaign_id text,
    outcome text not null check (outcome = 'chosen' or outcome = 'silent' or outcome = 'held_out' or outcome = 'held'
        or outcome = 'release_refused'),
    reason text,
    candidates text not null,
    choices text not null,
    -- the whole input of `decide`, compressed JSON: the decision can be made again; empty where reading it failed
    input bytea not null,
    predicted_latency_ms bigint not null,
    hops text not null,
    decided_ms bigint not null,
    test boolean not null,
    primary key (app_id, id)
);
create unique index decisions_moment on decisions (app_id, moment_id, user_id);
create unique index decisions_campaign on decisions (app_id, campaign_id, user_id) where moment_id is null;
create index decisions_user on decisions (app_id, user_id, id);
create index decisions_event on decisions (app_id, event_id);

-- Offers and campaigns as they were when something was decided by them: inputs name the revision.
create table versions (
    app_id text not null,
    id text not null,
    revision bigint not null,
    spec text not null,
    primary key (app_id, id, revision)
);

-- One chosen offer of one decision: what caps count, what is reserved, what is held.
create table choices (
    app_id text not null,
    id text not null,
    decision_id text not null,
    user_id text not null,
    campaign_id text not null,
    offer_id text not null,
    category text,
    critical boolean not null,
    state text not null check (state = 'planned' or state = 'held' or state = 'release_refused'),
    planned_ms bigint not null,
    -- whether it counts in caps and holds its reservation
    counts boolean not null,
    -- the second look at a held choice: its whole input, and what came of it
    release_input bytea,
    release text,
    primary key (app_id, id)
);
create unique index choices_offer on choices (app_id, decision_id, offer_id);
create index choices_user on choices (app_id, user_id, planned_ms);
create index choices_held on choices (planned_ms) where state = 'held';

-- == push ==
create table push_credentials (
    app_id text not null,
    gateway text not null check (gateway in ('apns', 'fcm', 'webpush')),
    environment text not null check (environment in ('production', 'sandbox')),
    public text not null,
    sealed bytea not null,
    revision bigint not null,
    updated_ms bigint not null,
    primary key (app_id, gateway, environment)
);

create table messages (
    app_id text not null,
    id text not null,
    decision_id text not null,
    choice_id text not null,
    user_id text not null,
    device_id text not null,
    campaign_id text not null,
    offer_id text not null,
    platform text not null,
    token text not null,
    environment text not null,
    topic text,
    test boolean not null,
    -- gateway, world and whether it is a test: what is sent over one set of connections under one credential
    route text not null,
    payload text not null,
    collapse_id text not null,
    -- at_most_once, at_least_once
    mode text not null check (mode in ('at_most_once', 'at_least_once')),
    -- purpose, partner and records that allowed it; checked again when an epoch has moved
    consent text not null,
    consent_epoch bigint not null,
    app_consent_epoch bigint not null,
    state text not null check (state = 'sending' or state = 'accepted' or state = 'queued' or state = 'retry_at'
        or state = 'rejected' or state = 'expired' or state = 'revoked' or state = 'token_dead' or state = 'cancelled'
        or state = 'unknown'),
    reason text,
    -- why it is not to be tried again, set while it was being sent: its next wait ends as cancelled
    stop_reason text,
    attempt bigint not null,
    attempts text not null,
    due_ms bigint not null,
    deadline_ms bigint not null,
    created_ms bigint not null,
    sending_ms bigint,
    ended_ms bigint,
    -- whether feedback (caps, stock) has seen the end
    settled boolean not null,
    primary key (app_id, id)
);
create unique index messages_once on messages (app_id, decision_id, offer_id, device_id);
-- in the order of the claim to the last word: a large audience is due in one instant, and must not be sorted each time
create index messages_due on messages (app_id, route, due_ms, id) where state in ('queued', 'retry_at');
create index messages_sending on messages (sending_ms) where state = 'sending';
create index messages_unsettled on messages (id) where settled = false and ended_ms is not null;
create index messages_user on messages (app_id, user_id, id);
create index messages_device on messages (app_id, device_id);
create index messages_choice on messages (app_id, choice_id);

-- Every legal edge of a message's life; the trigger refuses all others. What waits (queued, retry_at) is sent, or ends
-- unsent; what is being sent ends in any way or waits again; an end is for ever. Spelt out here and below instead of
-- looked up in a table: it is asked twice per push.

-- only sqlite
create trigger messages_edge before update of state on messages
when not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'revoked' or new.state = 'token_dead'
        or new.state = 'cancelled'))
begin
    select raise(abort, 'illegal edge of a message''s life');
end;
create trigger consents_no_update before update on consents begin select raise(abort, 'the consent ledger is append-only'); end;
create trigger consents_no_delete before delete on consents
when exists (select 1 from users where users.app_id = old.app_id and users.id = old.user_id)
begin
    select raise(abort, 'the consent ledger is append-only');
end;
-- end
-- only postgres
create function kairos_message_edge() returns trigger language plpgsql as $$
begin
    raise exception 'illegal edge of a message''s life';
end $$;
create trigger messages_edge before update of state on messages for each row
when (not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'revoked' or new.state = 'token_dead'
        or new.state = 'cancelled')))
execute function kairos_message_edge();
create function kairos_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and not exists (select 1 from users where users.app_id = old.app_id and users.id = old.user_id) then
        return old;
    end if;
    raise exception 'the consent ledger is append-only';
end $$;
create trigger consents_no_change before update or delete on consents for each row execute function kairos_append_only();
-- end

create table receipts (
    app_id text not null,
    message_id text not null,
    kind text not null check (kind in ('delivered', 'displayed', 'opened', 'dismissed')),
    at_ms bigint not null,
    received_ms bigint not null,
    primary key (app_id, message_id, kind)
);
