-- Kairos's own few mails to account holders.

-- What was queued in the transaction of its effect. `sealed` holds address, sender, subject and body, encrypted with the
-- master key, and is wiped when the mail has ended; the rest says nothing of the person but a keyed hash of the address.
create table mails (
    app_id text not null references apps (id),
    id text not null,
    user_id text,
    recipient text not null,
    -- whether only the owner of the account can have caused it
    notice boolean not null,
    template text not null,
    locale text not null,
    state text not null check (state in ('waiting', 'kept', 'sent', 'failed', 'expired')),
    reason text,
    sealed bytea,
    attempts bigint not null,
    -- waiting: the next attempt, or the end of the present one's lease
    due_ms bigint not null,
    -- not sent at or after
    useful_until_ms bigint not null,
    created_ms bigint not null,
    ended_ms bigint,
    primary key (app_id, id)
);
create index mails_waiting on mails (app_id, due_ms) where state = 'waiting';
create index mails_useful on mails (useful_until_ms) where state = 'waiting';
create index mails_recipient on mails (app_id, recipient, created_ms);
create index mails_user on mails (app_id, user_id) where user_id is not null;
create index mails_kept on mails (created_ms) where state = 'kept' and sealed is not null;
create index mails_created on mails (created_ms);

-- An app's own words in the place of the built-in ones.
create table mail_templates (
    app_id text not null references apps (id),
    template text not null,
    locale text not null,
    subject text not null,
    body text not null,
    created_ms bigint not null,
    updated_ms bigint not null,
    primary key (app_id, template, locale)
);
