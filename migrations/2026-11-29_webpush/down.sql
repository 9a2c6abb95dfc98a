alter table devices drop column web_keys;
