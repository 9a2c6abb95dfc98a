-- Every mail asks whether its address is one of them: few are, and an app may have millions of identities.
create index identities_unforwarded on identities (app_id, email) where email_reachable = false;
