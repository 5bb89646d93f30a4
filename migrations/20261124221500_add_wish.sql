-- Somebody who was not asked writes that they want to take part, and From can be forged: the wish is put to them as a question by
-- mail, and counts once it is confirmed. The row is part of the proof of consent; it is known by the message that states the wish.

CREATE TABLE wish (
    inbound_id BIGINT PRIMARY KEY REFERENCES inbound (id),
    campaign_id BIGINT NOT NULL REFERENCES campaign (id),
    address TEXT NOT NULL,
    address_key TEXT NOT NULL,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    language TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    superseded_at BIGINT,
    confirmed_at BIGINT,
    confirmed_by BIGINT REFERENCES inbound (id)
);
-- One question at a time to an address.
CREATE UNIQUE INDEX wish_that_is_last ON wish (address_key) WHERE superseded_at IS NULL;
CREATE INDEX wish_asked ON wish (asked_at);

-- The wish that a message answers.
ALTER TABLE inbound ADD COLUMN wish_id BIGINT REFERENCES wish (inbound_id);
