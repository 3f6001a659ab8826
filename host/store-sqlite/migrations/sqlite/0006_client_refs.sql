-- Verifications are found by their caller's own name for them. One without a name is in no index. What was written
-- before has no digest, and is not found by its name.
ALTER TABLE verification ADD COLUMN ref_digest BLOB;
CREATE INDEX verification_of_ref ON verification (ref_digest) WHERE ref_digest IS NOT NULL;
