-- What a message says, and where it stands, in a table each: a push changes its state twice or more, and its words, of
-- a hundred times the size, with six indexes, never. They are rows of one number; to all who only read, the view
-- `messages` is both.

-- only sqlite
create table message_bodies (
    -- never given twice, so that a late answer is never another message's
    n integer primary key autoincrement,
-- end
-- only postgres
create table message_bodies (
    -- never given twice, so that a late answer is never another message's
    n bigint generated always as identity primary key,
-- end
    app_id text not null,
    id text not null,
    decision_id text not null,
    choice_id text not null,
    user_id text not null,
    device_id text not null,
    campaign_id text not null,
    offer_id text not null,
    platform text not null,
    token text not null,
    environment text not null,
    test boolean not null,
    payload text not null,
    -- what else the gateway is told: push type, priority, urgency
    head text,
    collapse_id text not null,
    -- at_most_once, at_least_once
    mode text not null check (mode in ('at_most_once', 'at_least_once')),
    -- purpose, partner and records that allowed it; checked again when an epoch has moved
    consent text not null,
    consent_epoch bigint not null,
    app_consent_epoch bigint not null,
    created_ms bigint not null,
    -- the Live Activity that it starts, updates or ends; '': it is about none
    activity_id text not null,
    -- the message that this one takes back from the phone; '': it takes back none
    recalls text not null,
    -- when it was asked to be taken back itself
    recalled_ms bigint,
    -- until when its words are in the person's inbox, also when no push got through; absent: until the deadline, and
    -- only those that did
    inbox_until_ms bigint,
    unique (app_id, id)
);
-- only sqlite
create table message_states (
    n integer primary key,
-- end
-- only postgres
create table message_states (
    n bigint primary key,
-- end
    app_id text not null,
    -- gateway, world and whether it is a test: what is sent over one set of connections under one credential
    route text not null,
    topic text,
    -- those of every push first
    state text not null check (state = 'sending' or state = 'accepted' or state = 'queued' or state = 'retry_at'
        or state = 'rejected' or state = 'expired' or state = 'revoked' or state = 'token_dead' or state = 'cancelled'
        or state = 'unknown'),
    reason text,
    -- why it is not to be tried again, set while it was being sent: its next wait ends as cancelled
    stop_reason text,
    attempt bigint not null,
    attempts text not null,
    due_ms bigint not null,
    deadline_ms bigint not null,
    consent_until_ms bigint,
    sending_ms bigint,
    ended_ms bigint,
    -- whether feedback (caps, stock) has seen the end
    settled boolean not null
);

-- only postgres
-- a server of the version before must neither add to what was copied nor send of it
lock table messages in access exclusive mode;
-- end
insert into message_bodies (app_id, id, decision_id, choice_id, user_id, device_id, campaign_id, offer_id, platform, token,
    environment, test, payload, head, collapse_id, mode, consent, consent_epoch, app_consent_epoch, created_ms, activity_id,
    recalls, recalled_ms, inbox_until_ms)
select app_id, id, decision_id, choice_id, user_id, device_id, campaign_id, offer_id, platform, token,
    environment, test, payload, head, collapse_id, mode, consent, consent_epoch, app_consent_epoch, created_ms, activity_id,
    recalls, recalled_ms, inbox_until_ms
from messages order by app_id, id;
insert into message_states (n, app_id, route, topic, state, reason, stop_reason, attempt, attempts, due_ms, deadline_ms,
    consent_until_ms, sending_ms, ended_ms, settled)
select b.n, m.app_id, m.route, m.topic, m.state, m.reason, m.stop_reason, m.attempt, m.attempts, m.due_ms, m.deadline_ms,
    m.consent_until_ms, m.sending_ms, m.ended_ms, m.settled
from messages m join message_bodies b on b.app_id = m.app_id and b.id = m.id;
drop table messages;

create unique index message_bodies_once on message_bodies (app_id, decision_id, offer_id, device_id, recalls);
create index message_bodies_user on message_bodies (app_id, user_id, id);
create index message_bodies_choice on message_bodies (app_id, choice_id);
create index message_bodies_activity on message_bodies (app_id, activity_id) where activity_id <> '';
-- in the order of the claim to the last word: a large audience is due in one instant, and must not be sorted each time
create index message_states_due on message_states (app_id, route, due_ms, n) where state in ('queued', 'retry_at');
create index message_states_sending on message_states (sending_ms) where state = 'sending';
create index message_states_unsettled on message_states (n) where settled = false and ended_ms is not null;

create view messages as
select s.n, b.app_id, b.id, b.decision_id, b.choice_id, b.user_id, b.device_id, b.campaign_id, b.offer_id, b.platform,
    b.token, b.environment, s.topic, b.test, s.route, b.payload, b.head, b.collapse_id, b.mode, b.consent, b.consent_epoch,
    b.app_consent_epoch, s.state, s.reason, s.stop_reason, s.attempt, s.attempts, s.due_ms, s.deadline_ms, b.created_ms,
    s.sending_ms, s.ended_ms, s.settled, s.consent_until_ms, b.activity_id, b.recalls, b.recalled_ms, b.inbox_until_ms
from message_bodies b join message_states s on s.n = b.n;

-- Every legal edge of a message's life; the trigger refuses all others. What waits (queued, retry_at) is sent, or ends
-- unsent; what is being sent ends in any way or waits again; an end is for ever. Spelt out here and below instead of
-- looked up in a table: it is asked twice per push.

-- only sqlite
create trigger message_states_edge before update of state on message_states
when not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'revoked' or new.state = 'token_dead'
        or new.state = 'cancelled'))
begin
    select raise(abort, 'illegal edge of a message''s life');
end;
create trigger message_bodies_gone after delete on message_bodies
begin
    delete from message_states where n = old.n;
end;
-- end
-- only postgres
analyze message_bodies;
analyze message_states;
create trigger message_states_edge before update of state on message_states for each row
when (not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'revoked' or new.state = 'token_dead'
        or new.state = 'cancelled')))
execute function kairos_message_edge();
create function kairos_message_gone() returns trigger language plpgsql as $$
begin
    delete from message_states where n in (select n from gone);
    return null;
end $$;
create trigger message_bodies_gone after delete on message_bodies referencing old table as gone for each statement
execute function kairos_message_gone();
-- end
