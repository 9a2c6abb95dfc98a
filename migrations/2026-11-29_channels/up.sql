-- Broadcast channels of Apple's, topics of Google's, and what goes out over them.

create table channels (
    app_id text not null references apps (id),
    id text not null,
    key text not null,
    gateway text not null check (gateway = 'apns' or gateway = 'fcm'),
    attributes_type text,
    topic text not null,
    environment text not null check (environment = 'production' or environment = 'sandbox'),
    test boolean not null,
    -- whether the gateway keeps the latest broadcast for phones that are away
    keeps_latest boolean not null,
    public boolean not null,
    state text not null check (state = 'creating' or state = 'live' or state = 'deleting' or state = 'deleted'),
    -- the gateway's name for it; none while it is being made
    name text,
    -- of the last broadcast, in seconds: they rise strictly
    timestamp_s bigint not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    primary key (app_id, id)
);
create unique index channels_key on channels (app_id, key) where state <> 'deleted';

create table broadcasts (
    app_id text not null,
    id text not null,
    channel_id text not null,
    event text not null check (event = 'update' or event = 'end'),
    payload text not null,
    priority bigint not null,
    -- until when Apple may keep it; 0: now or never
    keep_until_ms bigint not null,
    mode text not null check (mode = 'at_most_once' or mode = 'at_least_once'),
    state text not null check (state = 'queued' or state = 'sending' or state = 'retry_at' or state = 'accepted'
        or state = 'rejected' or state = 'expired' or state = 'cancelled' or state = 'unknown'),
    reason text,
    stop_reason text,
    attempt bigint not null,
    attempts text not null,
    due_ms bigint not null,
    deadline_ms bigint not null,
    created_ms bigint not null,
    sending_ms bigint,
    ended_ms bigint,
    key_hash text,
    body_hash text not null,
    primary key (app_id, id)
);
create index broadcasts_channel on broadcasts (app_id, channel_id, id);
create unique index broadcasts_key on broadcasts (app_id, key_hash) where key_hash is not null;
create index broadcasts_due on broadcasts (due_ms) where state in ('queued', 'retry_at');
create index broadcasts_sending on broadcasts (app_id, channel_id) where state = 'sending';

-- only sqlite
create trigger broadcasts_edge before update of state on broadcasts
when not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'cancelled'))
begin
    select raise(abort, 'illegal edge of a broadcast''s life');
end;
-- end
-- only postgres
create function kairos_broadcast_edge() returns trigger language plpgsql as $$
begin
    if old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
        and (new.state = 'sending' or new.state = 'expired' or new.state = 'cancelled') then
        return new;
    end if;
    raise exception 'illegal edge of a broadcast''s life';
end $$;
create trigger broadcasts_edge before update of state on broadcasts for each row execute function kairos_broadcast_edge();
-- end
