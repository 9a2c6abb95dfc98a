-- A claim asks whose a token is only where its user's epoch has moved. Earlier versions took tokens from devices without
-- moving it: what they have left waiting is judged anew. A node of an earlier version
-- that goes on beside this is not helped by it: stop those first.
update message_bodies set consent_epoch = -1
where n in (select n from message_states where state in ('queued', 'retry_at', 'sending'));
