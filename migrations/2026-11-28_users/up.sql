-- What the app's back end says of accounts: claims for their tokens, who is disabled, who acts for whom.

-- what an app wants to read in its users' access tokens; a JSON object
alter table users add column claims text;
create index users_disabled on users (app_id, id) where disabled;

-- who of the back office acts as the user in this session: `key_…` or `opr_…`
alter table sessions add column actor text;
