-- == webhook: endpoints of the app and of partners, and what is on its way to them ==
create table webhooks (
    app_id text not null references apps (id),
    id text not null,
    -- whose it is: a partner, or '' for the app itself
    partner_id text not null,
    url text not null,
    description text not null,
    -- names and prefix.*; empty: everything
    event_types text not null,
    enabled boolean not null,
    disabled_reason text check (disabled_reason in ('by_owner', 'gone', 'failing')),
    disabled_ms bigint,
    -- sealed with the master key; the old one signs too until its time is over
    secret bytea not null,
    secret_ms bigint not null,
    old_secret bytea,
    old_secret_until_ms bigint,
    -- the first failure since the last success
    failing_since_ms bigint,
    throttled_until_ms bigint,
    created_ms bigint not null,
    updated_ms bigint not null,
    primary key (app_id, id)
);
create index webhooks_owner on webhooks (app_id, partner_id, id);

create table webhook_deliveries (
    app_id text not null,
    -- the webhook-id of every attempt
    id text not null,
    webhook_id text not null,
    -- whom it is about
    user_id text,
    event_type text not null,
    body text not null,
    state text not null check (state in ('waiting', 'delivered', 'failed')),
    reason text,
    -- how often it was claimed: only the last claim may settle
    claims bigint not null,
    -- how many attempts of the present schedule are done
    tries bigint not null,
    attempts text not null,
    -- while it is being sent: when another may take it up
    due_ms bigint not null,
    created_ms bigint not null,
    ended_ms bigint,
    primary key (app_id, id)
);
create index webhook_deliveries_due on webhook_deliveries (app_id, webhook_id, due_ms, id) where state = 'waiting';
create index webhook_deliveries_of on webhook_deliveries (app_id, webhook_id, id);
create index webhook_deliveries_user on webhook_deliveries (app_id, user_id) where user_id is not null;
create index webhook_deliveries_ended on webhook_deliveries (ended_ms) where ended_ms is not null;
