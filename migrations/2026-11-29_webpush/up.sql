-- A browser's push subscription: its endpoint is the token, beside it what a push to it is encrypted and signed with.
alter table devices add column web_keys text;
