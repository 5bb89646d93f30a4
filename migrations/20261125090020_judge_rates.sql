-- From when a campaign's bounces and complaints are counted: none, from its beginning; a person who resumes it is obeyed, and only mails
-- that leave from then on are counted. And when the organiser was warned of them.
ALTER TABLE campaign ADD COLUMN judged_from BIGINT;
ALTER TABLE campaign ADD COLUMN warned_at BIGINT;
-- The dead addresses since a time.
CREATE INDEX suppression_dead ON suppression (suppressed_at) WHERE reason = 'hard_bounce';
