-- Keys, indexes and foreign keys, added when the rows are in; and the role that backups read with.

ALTER TABLE users ADD PRIMARY KEY (id), ADD UNIQUE (email);
ALTER TABLE profiles ADD PRIMARY KEY (id), ADD UNIQUE (user_id), ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE organizations ADD PRIMARY KEY (id), ADD FOREIGN KEY (owner_id) REFERENCES users;
ALTER TABLE cms_pages ADD PRIMARY KEY (id), ADD UNIQUE (slug), ADD FOREIGN KEY (author_id) REFERENCES users;
ALTER TABLE payments ADD PRIMARY KEY (id), ADD CHECK (amount > 0), ADD FOREIGN KEY (user_id) REFERENCES users,
    ADD FOREIGN KEY (organization_id) REFERENCES organizations;
ALTER TABLE schema_migrations ADD PRIMARY KEY (version);
CREATE INDEX ON organizations (owner_id);
CREATE INDEX ON cms_pages (author_id);
CREATE INDEX ON payments (user_id);
CREATE INDEX ON payments (organization_id);
CREATE INDEX ON payments (status, created_at);

-- Roles belong to the whole server: the lock lets one creation finish with them before another one looks.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'car_audio_backup') THEN
        CREATE ROLE car_audio_backup NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    END IF;
END
$$;

ALTER ROLE car_audio_backup SET default_transaction_read_only = on;
ALTER ROLE car_audio_backup SET statement_timeout = '1h';
ALTER ROLE car_audio_backup SET lock_timeout = '10s';
GRANT USAGE ON SCHEMA public TO car_audio_backup;
GRANT SELECT ON users, profiles, cms_pages, organizations, payments TO car_audio_backup;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO car_audio_backup;
