drop table challenges;
drop table emails;
