drop table identity_notices;
drop table identity_revocations;
drop table identities;
drop table identity_providers;
