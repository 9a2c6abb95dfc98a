create table push_credentials_of_worlds (
    app_id text not null,
    gateway text not null check (gateway in ('apns', 'fcm', 'webpush')),
    environment text not null check (environment in ('production', 'sandbox')),
    public text not null,
    sealed bytea not null,
    revision bigint not null,
    updated_ms bigint not null,
    primary key (app_id, gateway, environment)
);
-- Further keys of a world have no place there, and a key that is sealed under its own name cannot be opened: they go.
insert into push_credentials_of_worlds
    select app_id, gateway, environment, public, sealed, revision, updated_ms from push_credentials where key_id = '';
drop table push_credentials;
alter table push_credentials_of_worlds rename to push_credentials;
