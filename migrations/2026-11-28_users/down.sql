alter table sessions drop column actor;
drop index users_disabled;
alter table users drop column claims;
