-- Several keys of Apple's per world, each for topics of its own; and what the gateways think of a credential.

create table push_credentials_of_keys (
    app_id text not null,
    gateway text not null check (gateway in ('apns', 'fcm', 'webpush')),
    environment text not null check (environment in ('production', 'sandbox')),
    -- Apple: the key's id; '' for gateways that have one credential, and for keys of before
    key_id text not null,
    public text not null,
    sealed bytea not null,
    revision bigint not null,
    updated_ms bigint not null,
    -- when the gateway last took it
    proven_ms bigint,
    -- since when the gateway refuses it, and its word for that
    refused_ms bigint,
    refused_reason text,
    primary key (app_id, gateway, environment, key_id)
);
insert into push_credentials_of_keys (app_id, gateway, environment, key_id, public, sealed, revision, updated_ms)
    select app_id, gateway, environment, '', public, sealed, revision, updated_ms from push_credentials;
drop table push_credentials;
alter table push_credentials_of_keys rename to push_credentials;
