-- Media hosts: what the resolver took and answered, and how far they are.
ALTER TABLE record ADD COLUMN dns_us INTEGER;
ALTER TABLE record ADD COLUMN icmp_us INTEGER;
ALTER TABLE record ADD COLUMN resolver TEXT;
ALTER TABLE record ADD COLUMN addresses TEXT NOT NULL DEFAULT '';

ALTER TABLE record_rollup ADD COLUMN dns BLOB;
ALTER TABLE record_rollup ADD COLUMN icmp BLOB;
