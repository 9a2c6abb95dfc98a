drop table push_targets;
drop table push_runs;
drop table pushes;
