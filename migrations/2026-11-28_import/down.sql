drop table import_chunks;
drop table imports;
drop table foreign_passwords;
