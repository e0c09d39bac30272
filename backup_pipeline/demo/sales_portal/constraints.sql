-- Keys, indexes and foreign keys, added when the rows are in; the view of communication; the role that backups read with.

ALTER TABLE users ADD PRIMARY KEY (id), ADD UNIQUE (email);
ALTER TABLE sales ADD PRIMARY KEY (id), ADD UNIQUE (sale_number), ADD FOREIGN KEY (created_by_id) REFERENCES users;
ALTER TABLE appliances ADD PRIMARY KEY (id), ADD FOREIGN KEY (sale_id) REFERENCES sales ON DELETE CASCADE;
ALTER TABLE sms_logs ADD PRIMARY KEY (id), ADD FOREIGN KEY (sale_id) REFERENCES sales;
ALTER TABLE document_templates ADD PRIMARY KEY (id), ADD FOREIGN KEY (created_by_id) REFERENCES users;
ALTER TABLE generated_documents ADD PRIMARY KEY (id), ADD FOREIGN KEY (sale_id) REFERENCES sales,
    ADD FOREIGN KEY (template_id) REFERENCES document_templates;
ALTER TABLE lead_import_batches ADD PRIMARY KEY (id), ADD FOREIGN KEY (imported_by_id) REFERENCES users;
ALTER TABLE leads ADD PRIMARY KEY (id), ADD FOREIGN KEY (assigned_agent_id) REFERENCES users,
    ADD FOREIGN KEY (import_batch_id) REFERENCES lead_import_batches;
ALTER TABLE lead_disposition_history ADD PRIMARY KEY (id), ADD FOREIGN KEY (lead_id) REFERENCES leads ON DELETE CASCADE,
    ADD FOREIGN KEY (agent_id) REFERENCES users;
ALTER TABLE field_configurations ADD PRIMARY KEY (id), ADD UNIQUE (entity, field_name);
ALTER TABLE lead_to_sale_conversions ADD PRIMARY KEY (id), ADD UNIQUE (lead_id, sale_id),
    ADD FOREIGN KEY (lead_id) REFERENCES leads, ADD FOREIGN KEY (sale_id) REFERENCES sales,
    ADD FOREIGN KEY (converted_by_id) REFERENCES users;
ALTER TABLE email_log ADD PRIMARY KEY (id), ADD FOREIGN KEY (sale_id) REFERENCES sales,
    ADD FOREIGN KEY (lead_id) REFERENCES leads;
ALTER TABLE communication_log ADD PRIMARY KEY (id), ADD FOREIGN KEY (sale_id) REFERENCES sales,
    ADD FOREIGN KEY (lead_id) REFERENCES leads, ADD FOREIGN KEY (agent_id) REFERENCES users;
ALTER TABLE _prisma_migrations ADD PRIMARY KEY (id);

CREATE INDEX ON sales (created_by_id);
CREATE INDEX ON appliances (sale_id);
CREATE INDEX ON sms_logs (sale_id, created_at);
CREATE INDEX ON sms_logs (status);
CREATE INDEX ON document_templates (created_by_id);
CREATE INDEX ON generated_documents (sale_id);
CREATE INDEX ON generated_documents (template_id);
CREATE INDEX ON lead_import_batches (imported_by_id);
CREATE INDEX ON leads (assigned_agent_id, status);
CREATE INDEX ON leads (import_batch_id);
CREATE INDEX ON lead_disposition_history (lead_id, created_at);
CREATE INDEX ON lead_disposition_history (agent_id);
CREATE INDEX ON lead_to_sale_conversions (sale_id);
CREATE INDEX ON lead_to_sale_conversions (converted_by_id);
CREATE INDEX ON email_log (sale_id, created_at);
CREATE INDEX ON email_log (lead_id);
CREATE INDEX ON email_log (status);
CREATE INDEX ON communication_log (sale_id, happened_at);
CREATE INDEX ON communication_log (lead_id, happened_at);
CREATE INDEX ON communication_log (agent_id);

CREATE VIEW communication_summary_view AS
SELECT s.id AS sale_id,
       s.sale_number,
       (SELECT count(*) FROM sms_logs m WHERE m.sale_id = s.id) AS sms_total,
       (SELECT count(*) FROM sms_logs m WHERE m.sale_id = s.id AND m.status IN ('SENT', 'DELIVERED')) AS sms_sent,
       (SELECT count(*) FROM email_log e WHERE e.sale_id = s.id) AS email_total,
       (SELECT count(*) FROM email_log e WHERE e.sale_id = s.id AND e.status IN ('OPENED', 'CLICKED')) AS email_opened,
       (SELECT count(*) FROM generated_documents d WHERE d.sale_id = s.id) AS documents,
       (SELECT count(*) FROM communication_log c WHERE c.sale_id = s.id AND c.channel = 'CALL') AS calls,
       (SELECT max(c.happened_at) FROM communication_log c WHERE c.sale_id = s.id) AS last_contact_at
FROM sales s;

-- Roles belong to the whole server: the lock lets one creation finish with them before another one looks.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'sales_portal_backup') THEN
        CREATE ROLE sales_portal_backup NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    END IF;
END
$$;

ALTER ROLE sales_portal_backup SET default_transaction_read_only = on;
ALTER ROLE sales_portal_backup SET statement_timeout = '1h';
ALTER ROLE sales_portal_backup SET lock_timeout = '10s';
GRANT USAGE ON SCHEMA public TO sales_portal_backup;
GRANT SELECT ON
    users, sales, appliances, sms_logs, generated_documents, leads, lead_disposition_history, document_templates,
    field_configurations, lead_import_batches, lead_to_sale_conversions, email_log, communication_log,
    communication_summary_view
TO sales_portal_backup;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO sales_portal_backup;
