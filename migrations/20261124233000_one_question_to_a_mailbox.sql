-- One question at a time to a mailbox: an address with its +tag cut away, since all its tags end in one place.

ALTER TABLE wish ADD COLUMN mailbox_key TEXT NOT NULL DEFAULT '';
UPDATE wish SET mailbox_key = address_key;
DROP INDEX wish_that_is_last;
CREATE UNIQUE INDEX wish_that_is_last ON wish (mailbox_key) WHERE superseded_at IS NULL;
