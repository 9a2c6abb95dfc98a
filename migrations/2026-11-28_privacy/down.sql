-- only sqlite
drop trigger consents_no_delete;
create trigger consents_no_delete before delete on consents
when exists (select 1 from users where users.app_id = old.app_id and users.id = old.user_id)
begin
    select raise(abort, 'the consent ledger is append-only');
end;
-- end
-- only postgres
create or replace function kairos_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and not exists (select 1 from users where users.app_id = old.app_id and users.id = old.user_id) then
        return old;
    end if;
    raise exception 'the consent ledger is append-only';
end $$;
-- end
drop index sessions_ended;
drop index events_nobody;
drop index place_states_user;
drop index positions_user;
drop table merges;
drop table tombstones;
drop table erasures;
alter table users drop column leaving_ms;
