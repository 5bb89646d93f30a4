-- How fast mail leaves, shared by all daemons and kept over restarts.

-- The mailbox providers that are counted apart, and their domains; '' is everybody else. Each daemon writes what its configuration says
-- when it starts. One that told us to slow down rests.
CREATE TABLE provider (
    name TEXT PRIMARY KEY,
    rests_until BIGINT,
    why TEXT
);
INSERT INTO provider (name) VALUES ('');
CREATE TABLE provider_domain (
    domain TEXT PRIMARY KEY,
    provider TEXT NOT NULL
);

-- What was given out to be sent by five minutes; and when the next may be, in microseconds since 1970. Of a relay, or of a provider.
CREATE TABLE rate_used (
    name TEXT NOT NULL,
    slot BIGINT NOT NULL,
    n BIGINT NOT NULL,
    PRIMARY KEY (name, slot)
);
CREATE TABLE rate_pace (
    name TEXT PRIMARY KEY,
    free_at BIGINT NOT NULL
);

-- Whose mailbox it is. What is due is looked for by edition and provider, so that what must wait is not read again and again.
ALTER TABLE delivery ADD COLUMN provider TEXT NOT NULL DEFAULT '';
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (edition_id, provider, due_at, id) WHERE state = 'queued';
