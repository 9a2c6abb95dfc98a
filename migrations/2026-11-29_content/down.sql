alter table devices drop column badge;
alter table messages drop column head;
