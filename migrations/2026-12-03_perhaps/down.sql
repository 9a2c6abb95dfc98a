-- only sqlite
drop trigger if exists message_states_edge;
drop trigger if exists broadcasts_edge;
-- end
-- only postgres
drop trigger if exists message_states_edge on message_states;
create or replace function kairos_broadcast_edge() returns trigger language plpgsql as $$
begin
    if old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
        and (new.state = 'sending' or new.state = 'expired' or new.state = 'cancelled') then
        return new;
    end if;
    raise exception 'illegal edge of a broadcast''s life';
end $$;
-- end
drop view messages;
alter table message_states drop column perhaps;
alter table broadcasts drop column perhaps;
create view messages as
select s.n, b.app_id, b.id, b.decision_id, b.choice_id, b.user_id, b.device_id, b.campaign_id, b.offer_id, b.platform,
    b.token, b.environment, s.topic, b.test, s.route, b.payload, b.head, b.collapse_id, b.mode, b.consent, b.consent_epoch,
    b.app_consent_epoch, s.state, s.reason, s.stop_reason, s.attempt, s.attempts, s.due_ms, s.deadline_ms, b.created_ms,
    s.sending_ms, s.ended_ms, s.settled, s.consent_until_ms, b.activity_id, b.recalls, b.recalled_ms, b.inbox_until_ms
from message_bodies b join message_states s on s.n = b.n;
-- only sqlite
create trigger message_states_edge before update of state on message_states
when not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'revoked' or new.state = 'token_dead'
        or new.state = 'cancelled'))
begin
    select raise(abort, 'illegal edge of a message''s life');
end;
create trigger broadcasts_edge before update of state on broadcasts
when not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'cancelled'))
begin
    select raise(abort, 'illegal edge of a broadcast''s life');
end;
-- end
-- only postgres
create trigger message_states_edge before update of state on message_states for each row
when (not (old.state = 'sending' or old.state = new.state or (old.state = 'queued' or old.state = 'retry_at')
    and (new.state = 'sending' or new.state = 'expired' or new.state = 'revoked' or new.state = 'token_dead'
        or new.state = 'cancelled')))
execute function kairos_message_edge();
-- end
