-- What a push says beside its words: headers that are not the usual, the number on an icon.

-- What the gateway is told beside the body: for Apple's `<push type> <priority>[ <suffix of the topic>]`; null: an alert, at once.
alter table messages add column head text;

-- The number on the app's icon, as far as the server knows.
alter table devices add column badge bigint not null default 0;
