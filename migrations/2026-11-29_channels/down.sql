drop table broadcasts;
-- only postgres
drop function kairos_broadcast_edge();
-- end
drop table channels;
