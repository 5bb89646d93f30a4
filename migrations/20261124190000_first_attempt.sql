-- When the relay first judged a mail: giving up counts from there, not from the time it was composed, which may be a week of
-- a paused relay before.
ALTER TABLE delivery ADD COLUMN first_attempt_at BIGINT;
ALTER TABLE notice ADD COLUMN first_attempt_at BIGINT;
