-- Who owns which address, and secrets that are used once.

-- Addresses whose mail their users have shown to read: one account each.
create table emails (
    app_id text not null,
    email text not null,
    user_id text not null,
    verified_ms bigint not null,
    primary key (app_id, email)
);
create unique index emails_user on emails (app_id, user_id);

-- What is mailed as a link or a code, and what stands between two steps of a sign-in; hashes only.
create table challenges (
    app_id text not null,
    id text not null,
    kind text not null,
    user_id text,
    email text,
    mode text not null check (mode in ('live', 'test')),
    token_hash text not null unique,
    code_hash text not null,
    tries bigint not null,
    state text not null,
    created_ms bigint not null,
    expires_ms bigint not null,
    used_ms bigint,
    primary key (app_id, id)
);
create index challenges_user on challenges (app_id, user_id, kind) where used_ms is null;
create index challenges_email on challenges (app_id, email, kind) where used_ms is null;
-- what is over, to be forgotten
create index challenges_over on challenges (app_id, expires_ms);
