-- What came of a push: receipts, recalls, the inbox, and webhooks that hear of it.

-- Which button of the notification was tapped.
alter table receipts add column action text;

-- The message that this one takes back from the phone; '': it takes back none. When it was asked to be taken back. Until
-- when its words are in the person's inbox, also when no push got through; absent: until the deadline, and only those
-- that did.
alter table messages add column recalls text not null default '';
alter table messages add column recalled_ms bigint;
alter table messages add column inbox_until_ms bigint;
drop index messages_once;
create unique index messages_once on messages (app_id, decision_id, offer_id, device_id, recalls);

-- When what this moment showed is to be taken back: at its close, or when a newer one takes its place; absent: never, or
-- done.
alter table moments add column recall_ms bigint;
create index moments_recall on moments (recall_ms) where recall_ms is not null;

-- What a person did with what is in their inbox: one row per choice, whatever the number of their devices.
create table inbox (
    app_id text not null,
    choice_id text not null,
    user_id text not null,
    read_ms bigint,
    archived_ms bigint,
    primary key (app_id, choice_id)
);
create index inbox_user on inbox (app_id, user_id);

-- Recalls of all that a campaign has shown: a walk along the ids of its messages.
create table campaign_recalls (
    app_id text not null,
    campaign_id text not null,
    -- the last id that was looked at, and the one at which the walk ends
    cursor_id text not null,
    end_id text not null,
    recalled bigint not null,
    asked_ms bigint not null,
    done_ms bigint,
    primary key (app_id, campaign_id)
);
create index campaign_recalls_open on campaign_recalls (asked_ms) where done_ms is null;

-- Whether it hears of the results of messages.
alter table webhooks add column results boolean not null default false;
update webhooks set results = true
where partner_id = '' and (event_types = '[]' or event_types like '%"message.%');
