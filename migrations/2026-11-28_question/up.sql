-- What an attribute of users is called, whether it says who somebody is, under which purpose it may be read, who may
-- write it, and how users are asked for it.
alter table attributes add column name text;
alter table attributes add column pii boolean not null default false;
alter table attributes add column purpose text;
alter table attributes add column writers text not null default 'both'
    check (writers = 'user' or writers = 'server' or writers = 'both');
-- texts by language; closed answers
alter table attributes add column question text;
alter table attributes add column options text;

-- What a user was asked for, and how often they passed it over.
create table questions (
    app_id text not null,
    user_id text not null,
    attribute text not null,
    asked_ms bigint not null,
    -- neither passed over nor given way to another question
    open boolean not null,
    skips bigint not null,
    skipped_ms bigint,
    primary key (app_id, user_id, attribute)
);
