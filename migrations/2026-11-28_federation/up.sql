-- Who else vouches for an app's users, and for whom.

-- Issuers of ID tokens that an app believes; Apple's private key is sealed with the master key.
create table identity_providers (
    app_id text not null,
    name text not null,
    settings text not null,
    sealed bytea,
    updated_ms bigint not null,
    primary key (app_id, name)
);
-- Apple's notices name a client id and no app
create index identity_providers_name on identity_providers (name);

-- Who a user is to an issuer. A revoked one opens nothing until its issuer vouches for it again.
create table identities (
    app_id text not null,
    id text not null,
    user_id text not null,
    provider text not null,
    issuer text not null,
    subject text not null,
    client_id text not null,
    email text,
    email_is_private boolean not null,
    email_reachable boolean not null,
    email_ms bigint not null,
    refresh_sealed bytea,
    created_ms bigint not null,
    last_used_ms bigint not null,
    revoked_ms bigint,
    primary key (app_id, id)
);
create unique index identities_subject on identities (app_id, provider, issuer, subject);
create index identities_user on identities (app_id, user_id);

-- Apple's refresh tokens of identities that are gone, until Apple has taken them back.
create table identity_revocations (
    app_id text not null,
    identity_id text not null,
    client_id text not null,
    refresh_sealed bytea not null,
    attempts bigint not null,
    due_ms bigint not null,
    primary key (app_id, identity_id)
);
create index identity_revocations_due on identity_revocations (due_ms);

-- Apple's notices that were heeded.
create table identity_notices (
    app_id text not null,
    jti text not null,
    received_ms bigint not null,
    primary key (app_id, jti)
);
create index identity_notices_received on identity_notices (received_ms);
