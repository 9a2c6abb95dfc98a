drop view messages;
create table messages (
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
    topic text,
    test boolean not null,
    route text not null,
    payload text not null,
    collapse_id text not null,
    mode text not null check (mode in ('at_most_once', 'at_least_once')),
    consent text not null,
    consent_epoch bigint not null,
    app_consent_epoch bigint not null,
    state text not null check (state = 'sending' or state = 'accepted' or state = 'queued' or state = 'retry_at'
        or state = 'rejected' or state = 'expired' or state = 'revoked' or state = 'token_dead' or state = 'cancelled'
        or state = 'unknown'),
    reason text,
    stop_reason text,
    attempt bigint not null,
    attempts text not null,
    due_ms bigint not null,
    deadline_ms bigint not null,
    created_ms bigint not null,
    sending_ms bigint,
    ended_ms bigint,
    settled boolean not null,
    consent_until_ms bigint,
    activity_id text not null default '',
    head text,
    recalls text not null default '',
    recalled_ms bigint,
    inbox_until_ms bigint,
    primary key (app_id, id)
);
insert into messages (app_id, id, decision_id, choice_id, user_id, device_id, campaign_id, offer_id, platform, token,
    environment, topic, test, route, payload, collapse_id, mode, consent, consent_epoch, app_consent_epoch, state, reason,
    stop_reason, attempt, attempts, due_ms, deadline_ms, created_ms, sending_ms, ended_ms, settled, consent_until_ms,
    activity_id, head, recalls, recalled_ms, inbox_until_ms)
select b.app_id, b.id, b.decision_id, b.choice_id, b.user_id, b.device_id, b.campaign_id, b.offer_id, b.platform, b.token,
    b.environment, s.topic, b.test, s.route, b.payload, b.collapse_id, b.mode, b.consent, b.consent_epoch,
    b.app_consent_epoch, s.state, s.reason, s.stop_reason, s.attempt, s.attempts, s.due_ms, s.deadline_ms, b.created_ms,
    s.sending_ms, s.ended_ms, s.settled, s.consent_until_ms, b.activity_id, b.head, b.recalls, b.recalled_ms,
    b.inbox_until_ms
from message_bodies b join message_states s on s.n = b.n;
drop table message_states;
drop table message_bodies;
create unique index messages_once on messages (app_id, decision_id, offer_id, device_id, recalls);
create index messages_due on messages (app_id, route, due_ms, id) where state in ('queued', 'retry_at');
create index messages_sending on messages (sending_ms) where state = 'sending';
create index messages_unsettled on messages (id) where settled = false and ended_ms is not null;
create index messages_user on messages (app_id, user_id, id);
create index messages_device on messages (app_id, device_id);
create index messages_choice on messages (app_id, choice_id);
create index messages_activity on messages (app_id, activity_id) where activity_id <> '';
-- only sqlite
create trigger messages_edge before update of state on messages
when not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'revoked' or new.state = 'token_dead'
        or new.state = 'cancelled'))
begin
    select raise(abort, 'illegal edge of a message''s life');
end;
-- end
-- only postgres
drop function kairos_message_gone;
create trigger messages_edge before update of state on messages for each row
when (not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'revoked' or new.state = 'token_dead'
        or new.state = 'cancelled')))
execute function kairos_message_edge();
-- end
