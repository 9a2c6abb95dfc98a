update api_keys set scopes = replace(replace(scopes, '"campaigns:publish",', ''), ',"campaigns:publish"', '');
-- only sqlite
drop trigger audit_no_update;
drop trigger audit_no_delete;
drop trigger audit_no_replace;
-- end
drop table audit;
-- only postgres
drop function kairos_audit_append_only;
-- end
drop table operator_attempts;
drop table operator_recovery_codes;
drop table operator_sessions;
drop table operator_roles;
drop table operators;
