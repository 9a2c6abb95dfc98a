-- Live Activities of Apple's: their tokens, apart from those of devices, and what was started for whom.

-- By which an app on a phone lets activities of one type be started from afar.
create table start_tokens (
    app_id text not null,
    device_id text not null,
    attributes_type text not null,
    user_id text not null,
    token text not null,
    -- when this token was registered: a gateway's verdict older than this says nothing about it
    token_ms bigint not null,
    primary key (app_id, device_id, attributes_type)
);
create unique index start_tokens_token on start_tokens (app_id, token);
create index start_tokens_user on start_tokens (app_id, user_id);

create table activities (
    app_id text not null references apps (id),
    id text not null,
    attributes_type text not null,
    test boolean not null,
    -- purpose, class, topic, category, mode; none when a phone has begun it
    spec text,
    -- what the start shows, while somebody may still get it
    start text,
    -- the broadcast channel over which it is updated, if it is
    channel_id text,
    -- of the last update, in seconds: they rise strictly
    timestamp_s bigint not null,
    key_hash text,
    body_hash text not null,
    created_ms bigint not null,
    -- when no phone shows it any more, whatever is said
    over_ms bigint not null,
    -- when its end was asked for, and by which update
    ended_ms bigint,
    end_id text,
    -- whether its tokens and words were forgotten after it was over
    swept boolean not null,
    primary key (app_id, id)
);
create unique index activities_key on activities (app_id, key_hash) where key_hash is not null;
create index activities_over on activities (app_id, over_ms) where swept = false;

create table activity_updates (
    app_id text not null,
    id text not null,
    activity_id text not null,
    event text not null check (event = 'update' or event = 'end'),
    key_hash text,
    body_hash text not null,
    created_ms bigint not null,
    primary key (app_id, id)
);
create unique index activity_updates_key on activity_updates (app_id, key_hash) where key_hash is not null;
create index activity_updates_activity on activity_updates (app_id, activity_id);

-- An activity on one phone.
create table activity_devices (
    app_id text not null,
    activity_id text not null,
    device_id text not null,
    user_id text not null,
    -- what the phone calls it; the activity's id where we have started it
    name text not null,
    -- to which updates go; none until the phone has said it, and after it is dead
    token text,
    token_ms bigint,
    created_ms bigint not null,
    -- when the phone or Apple said that it is over
    ended_ms bigint,
    primary key (app_id, activity_id, device_id)
);
create unique index activity_devices_name on activity_devices (app_id, device_id, name);
create unique index activity_devices_token on activity_devices (app_id, token) where token is not null;
create index activity_devices_user on activity_devices (app_id, user_id);

-- The activity that a message starts, updates or ends; '': it is about none.
alter table messages add column activity_id text not null default '';
create index messages_activity on messages (app_id, activity_id) where activity_id <> '';
