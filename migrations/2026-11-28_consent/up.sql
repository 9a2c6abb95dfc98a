-- What was shown with a choice: in which language, under which jurisdiction, the SHA-256 of the text; until when a grant
-- counts; whether a guardian gave it.
alter table consents add column language text;
alter table consents add column notice_hash text;
alter table consents add column jurisdiction text;
alter table consents add column expires_ms bigint;
alter table consents add column guardian boolean not null default false;

alter table purposes add column categories text not null default '[]';
alter table purposes add column personal_data text not null default '[]';
alter table purposes add column sale_or_share boolean not null default false;

-- How long a grant for this text counts, and what differs by jurisdiction.
alter table purpose_versions add column valid_ms bigint;
alter table purpose_versions add column jurisdictions text not null default '{}';

-- When the first of the grants that allow a message ends by itself.
alter table messages add column consent_until_ms bigint;

-- From when on a user is of age, and by which minimum that was worked out. No birth date: of those who are of age
-- already, the time is that of the statement.
create table ages (
    app_id text not null,
    user_id text not null,
    jurisdiction text,
    minimum_years bigint not null,
    of_age_ms bigint not null,
    stated_ms bigint not null,
    -- as in `consents`
    source text not null,
    primary key (app_id, user_id)
);
