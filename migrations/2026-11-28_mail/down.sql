drop table mail_templates;
drop table mails;
