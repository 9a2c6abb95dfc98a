drop index messages_activity;
alter table messages drop column activity_id;
drop table activity_devices;
drop table activity_updates;
drop table activities;
drop table start_tokens;
