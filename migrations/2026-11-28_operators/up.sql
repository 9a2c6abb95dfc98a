-- Operators: the people who run apps; and the audit log of what they and the apps' keys do.
-- Operators belong to the installation, so their own tables lead with their id; what they are in an app leads with app_id.

create table operators (
    id text primary key,
    email text not null unique,
    name text not null,
    -- none until the invitation is accepted
    password_hash text,
    -- of the invitation's token, which sets the password once
    invite_hash text unique,
    invite_expires_ms bigint,
    -- a second factor that was offered and is not confirmed yet
    enrol_hash text unique,
    enrol_sealed bytea,
    enrol_expires_ms bigint,
    -- the second factor, sealed with the master key, and the last step of it whose code was taken
    totp_sealed bytea,
    totp_step bigint not null,
    created_ms bigint not null,
    disabled_ms bigint
);

create table operator_roles (
    app_id text not null references apps (id),
    operator_id text not null references operators (id),
    role text not null check (role in ('viewer', 'marketer', 'publisher', 'developer', 'owner')),
    disabled boolean not null,
    created_ms bigint not null,
    primary key (app_id, operator_id)
);
create index operator_roles_operator on operator_roles (operator_id);

create table operator_sessions (
    token_hash text primary key,
    operator_id text not null references operators (id),
    created_ms bigint not null,
    last_used_ms bigint not null,
    expires_ms bigint not null
);
create index operator_sessions_operator on operator_sessions (operator_id);

create table operator_recovery_codes (
    operator_id text not null references operators (id),
    code_hash text not null,
    used_ms bigint,
    primary key (operator_id, code_hash)
);

-- Attempts to sign in that did not succeed, by account and by address, both as keyed hashes.
create table operator_attempts (
    who text primary key,
    failures bigint not null,
    last_ms bigint not null,
    until_ms bigint not null
);

-- One chain of rows per app; '' is the installation's own. Each row's hash covers the row and the hash before it.
create table audit (
    app_id text not null,
    seq bigint not null,
    at_ms bigint not null,
    actor text not null,
    action text not null,
    objects text not null,
    fields text not null,
    details text not null,
    request_id text,
    hash text not null,
    primary key (app_id, seq)
);
create index audit_actor on audit (app_id, actor, seq);

-- only sqlite
create trigger audit_no_update before update on audit begin select raise(abort, 'the audit log is append-only'); end;
create trigger audit_no_delete before delete on audit begin select raise(abort, 'the audit log is append-only'); end;
-- `insert or replace` deletes without asking the trigger above
create trigger audit_no_replace before insert on audit
when exists (select 1 from audit where app_id = new.app_id and seq >= new.seq)
begin
    select raise(abort, 'the audit log is append-only');
end;
-- end
-- only postgres
create function kairos_audit_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is append-only';
end $$;
create trigger audit_no_change before update or delete on audit for each row execute function kairos_audit_append_only();
create trigger audit_no_truncate before truncate on audit for each statement execute function kairos_audit_append_only();
-- end

-- Publishing has become a right of its own: the keys that had it keep it.
update api_keys set scopes = replace(scopes, '"campaigns:write"', '"campaigns:write","campaigns:publish"')
where scopes like '%"campaigns:write"%';
