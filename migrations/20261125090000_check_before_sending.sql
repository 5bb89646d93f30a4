-- When everybody an edition goes to had been rendered once without a fault: before that nothing of it leaves. What was open
-- already goes on.
ALTER TABLE edition ADD COLUMN checked_at BIGINT;
UPDATE edition SET checked_at = opened_at;
