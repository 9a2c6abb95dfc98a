-- Second factors and passkeys.

-- Authenticator apps: one per user.
create table totps (
    app_id text not null,
    user_id text not null,
    sealed bytea not null,
    -- a code of this step or an older one is used up
    last_step bigint not null,
    created_ms bigint not null,
    primary key (app_id, user_id)
);

-- What still opens the door when the phone is lost; keyed hashes only.
create table recovery_codes (
    app_id text not null,
    user_id text not null,
    code_hash text not null,
    created_ms bigint not null,
    used_ms bigint,
    primary key (app_id, user_id, code_hash)
);

-- Public keys of users' authenticators.
create table passkeys (
    app_id text not null,
    id text not null,
    user_id text not null,
    -- what authenticators know the user by: random, never the user's id
    handle text not null,
    credential_id text not null,
    credential text not null,
    counter bigint not null,
    backed_up boolean not null,
    transports text not null,
    name text not null,
    second_factor boolean not null,
    created_ms bigint not null,
    last_used_ms bigint,
    primary key (app_id, id),
    unique (app_id, credential_id)
);
create index passkeys_user on passkeys (app_id, user_id);
