drop table passkeys;
drop table recovery_codes;
drop table totps;
