-- Whether an attempt at what waits to be sent again may have arrived: its answer was never heard. Whatever keeps it from being
-- sent again, nobody knows whether it is on the phone: it ends as unknown.
alter table message_states add column perhaps boolean not null default false;
alter table broadcasts add column perhaps boolean not null default false;
-- What waits or flies already says it by its attempts. Where a word has two meanings, or a long list leaves some out, nobody
-- knows.
update message_states set perhaps = true
where state in ('queued', 'retry_at')
    and (attempts like '%"reason":"timeout"%' or attempts like '%"reason":"connection_lost"%'
        or attempts like '%"reason":"stream_reset"%' or attempts like '%"reason":"goaway"%'
        or attempts like '%"reason":"crash"%' or attempts like '%"reason":"lost"%' or length(attempts) > 16384)
    and exists (select 1 from message_bodies b where b.n = message_states.n and b.mode = 'at_least_once');
update message_states set perhaps = true
where state = 'sending'
    and (attempts like '%"reason":"timeout"%' or attempts like '%"reason":"connection_lost"%'
        or attempts like '%"reason":"stream_reset"%' or attempts like '%"reason":"goaway"%'
        or attempts like '%"reason":"crash"%' or attempts like '%"reason":"lost"%' or length(attempts) > 16384)
    and exists (select 1 from message_bodies b where b.n = message_states.n and b.mode = 'at_least_once');
update broadcasts set perhaps = true
where state in ('queued', 'retry_at', 'sending') and mode = 'at_least_once'
    and (attempts like '%"reason":"timeout"%' or attempts like '%"reason":"connection_lost"%'
        or attempts like '%"reason":"stream_reset"%' or attempts like '%"reason":"goaway"%'
        or attempts like '%"reason":"crash"%' or attempts like '%"reason":"lost"%');

drop view messages;
create view messages as
select s.n, b.app_id, b.id, b.decision_id, b.choice_id, b.user_id, b.device_id, b.campaign_id, b.offer_id, b.platform,
    b.token, b.environment, s.topic, b.test, s.route, b.payload, b.head, b.collapse_id, b.mode, b.consent, b.consent_epoch,
    b.app_consent_epoch, s.state, s.reason, s.stop_reason, s.attempt, s.attempts, s.due_ms, s.deadline_ms, b.created_ms,
    s.sending_ms, s.ended_ms, s.settled, s.consent_until_ms, b.activity_id, b.recalls, b.recalled_ms, b.inbox_until_ms,
    s.perhaps
from message_bodies b join message_states s on s.n = b.n;

-- The edges as before, but of what may have arrived: that ends as unknown where it waits, and as nothing else.

-- only sqlite
drop trigger if exists message_states_edge;
create trigger message_states_edge before update of state on message_states
when not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or old.perhaps and new.state = 'unknown' or not old.perhaps and (new.state = 'expired'
        or new.state = 'revoked' or new.state = 'token_dead' or new.state = 'cancelled')))
begin
    select raise(abort, 'illegal edge of a message''s life');
end;
drop trigger if exists broadcasts_edge;
create trigger broadcasts_edge before update of state on broadcasts
when not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or old.perhaps and new.state = 'unknown'
        or not old.perhaps and (new.state = 'expired' or new.state = 'cancelled')))
begin
    select raise(abort, 'illegal edge of a broadcast''s life');
end;
-- end
-- only postgres
drop trigger if exists message_states_edge on message_states;
create trigger message_states_edge before update of state on message_states for each row
when (not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or old.perhaps and new.state = 'unknown' or not old.perhaps and (new.state = 'expired'
        or new.state = 'revoked' or new.state = 'token_dead' or new.state = 'cancelled'))))
execute function kairos_message_edge();
create or replace function kairos_broadcast_edge() returns trigger language plpgsql as $$
begin
    if old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
        and (new.state = 'sending' or old.perhaps and new.state = 'unknown'
            or not old.perhaps and (new.state = 'expired' or new.state = 'cancelled')) then
        return new;
    end if;
    raise exception 'illegal edge of a broadcast''s life';
end $$;
-- end
