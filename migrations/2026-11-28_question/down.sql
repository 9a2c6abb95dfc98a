drop table questions;
alter table attributes drop column options;
alter table attributes drop column question;
alter table attributes drop column writers;
alter table attributes drop column purpose;
alter table attributes drop column pii;
alter table attributes drop column name;
