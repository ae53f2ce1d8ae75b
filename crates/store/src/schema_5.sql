-- What a session's TCP transfers measured, as JSON.
ALTER TABLE session ADD COLUMN transfers TEXT NOT NULL DEFAULT '[]';
