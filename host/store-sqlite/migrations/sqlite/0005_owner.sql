-- The backend that alone judges the code of a verification, by its name in the settings; NULL: the host judges it. A code
-- that was pending before is the host's, which has the digest of each.
ALTER TABLE verification ADD COLUMN owner TEXT;
