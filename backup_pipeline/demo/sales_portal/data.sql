-- Customers are made of the same dice as everywhere; one lead in twenty was typed by somebody who did not care, and is
-- what validation is for: which ones is known by the row's number (n % 20 = 7), so that false alarms can be counted.

CREATE FUNCTION demo.first_name(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN one(ARRAY[
    'Margaret', 'Alan', 'Siân', 'Mohammed', 'Priya', 'Anne-Marie', 'Keith', 'Zoë', 'Olumide', 'Jo', 'Agnieszka', 'Bo',
    'Callum', 'Deepika', 'Eilidh', 'Frank', 'Grace', 'Harold', 'Ioan', 'Jean', 'Wei', 'Niamh', 'Oscar', 'Pauline'
], label, n);

CREATE FUNCTION demo.last_name(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN one(ARRAY[
    'O''Neill', 'Smith-Jones', 'Ng', 'Li', 'Hughes', 'Patel', 'Okafor', 'Kowalska', 'MacDonald', 'Byrne', 'Tester',
    'Fakenham', 'Nulty', 'Khan', 'Evans', 'Wright', 'Ali', 'Brown', 'Lloyd', 'Begum', 'Sharma', 'Quirk'
], label || '#', n);

-- Numbers as people write them: with a blank, without, with the country.
CREATE FUNCTION demo.phone(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN CASE n % 4
    WHEN 0 THEN '+44 7' || (4 + pick(label, n, 2)) || '00 ' || (1 + pick(label || '#', n, 8)) || '25' || digits(label, n, 3)
    WHEN 1 THEN '0161 496 ' || digits(label, n, 4)
    WHEN 2 THEN '07400 ' || (1 + pick(label || '#', n, 8)) || '36' || digits(label, n, 3)
    ELSE '020 7946 ' || digits(label, n, 4) END;

CREATE FUNCTION demo.postcode(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN one(ARRAY['M1 4', 'SW1A 2', 'CF10 1', 'EH3 9', 'B33 8', 'LS1 3', 'bt7 1', 'W1A0'], label, n)
    || one(ARRAY['AA', 'BX', 'DL', 'NN', 'th', 'QZ'], label || '#', n);

CREATE FUNCTION demo.street(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN 1 + pick(label, n, 180) || one(ARRAY[' High Street', ' Station Road', ' St Mary''s Close', ' Flat B, The Mews'], label || '#', n);

INSERT INTO users (id, email, name, password, role, is_active, created_at)
SELECT row_id('users', n), CASE n WHEN 1 THEN 'admin@salesportal.com' ELSE 'agent' || n || '@salesportal.com' END,
       first_name('users', n) || ' ' || last_name('users', n),
       '$2b$12$' || 's3cr3t.' || left(md5('users.password' || n), 24) || left(md5('salt' || n), 22),
       (CASE WHEN n = 1 THEN 'ADMIN' WHEN n % 8 = 2 THEN 'SUPERVISOR' ELSE 'AGENT' END)::user_role, n % 11 <> 10,
       ago('users.created', n, 700)
FROM generate_series(1, size('users')) n;

INSERT INTO sales (
    id, sale_number, customer_first_name, customer_last_name, phone_number, email, date_of_birth, address_line1, city,
    postcode, account_name, account_number, sort_code, direct_debit_date, appliance_cover_selected,
    boiler_cover_selected, total_plan_cost, status, created_by_id, created_at, updated_at
)
SELECT row_id('sales', n), 'SP-' || to_char(n, 'FM000000'), first_name('sales', n), last_name('sales', n),
       phone('sales.phone', n),
       CASE WHEN n % 6 > 0 THEN lower(replace(first_name('mail', n), 'ë', 'e')) || '.' || n || '@example.co.uk' END,
       date '1938-01-01' + pick('sales.birth', n, 24000), street('sales.street', n),
       one(ARRAY['Manchester', 'London', 'Caerdydd', 'Edinburgh', 'Birmingham', 'Leeds'], 'sales.city', n),
       postcode('sales.postcode', n), first_name('sales', n) || ' ' || last_name('sales', n),
       '1' || digits('sales.account', n, 6) || (1 + n % 2 * 4), '20-' || digits('sort', n, 2) || '-' || (10 + n % 80),
       today() + pick('sales.debit', n, 28), n % 5 > 0, n % 3 = 0, 12.99 + pick('sales.cost', n, 4000) / 100.0,
       (CASE WHEN n % 19 = 0 THEN 'CANCELLED' WHEN n % 13 = 0 THEN 'PENDING' ELSE 'ACTIVE' END)::sale_status,
       row_id('users', 1 + pick('sales.agent', n, size('users')::integer)), ago('sales.created', n, 400),
       ago('sales.created', n, 400)
FROM generate_series(1, size('sales')) n;

INSERT INTO appliances (id, sale_id, appliance, other_text, monthly_cost, cover_limit)
SELECT row_id('appliances', n * 10 + k), row_id('sales', n), a.appliance,
       CASE a.appliance WHEN 'Other' THEN 'Wine cooler, "tall"' END, 4.99 + k, 500 * (1 + k % 2)
FROM generate_series(1, size('sales')) n
CROSS JOIN LATERAL generate_series(1, 1 + pick('appliances', n, 4)) k
CROSS JOIN LATERAL (SELECT one(ARRAY['Washing Machine', 'Fridge Freezer', 'Cooker', 'Dishwasher', 'Television', 'Other'],
    'appliances.kind', n * 10 + k) AS appliance) a;

-- 407 of 432 were sent, 17 failed, 8 wait: the same shares at any scale.
INSERT INTO sms_logs (
    id, sale_id, phone_number, message, status, provider_message_id, error_message, sent_at, created_at
)
SELECT row_id('sms_logs', n), CASE WHEN n % 9 > 0 THEN row_id('sales', s.no) END, phone('sales.phone', s.no),
       one(ARRAY['Your cover starts today. Ref ', 'Thank you for your call! Ref ', 'Diolch 😊 Ref '], 'sms.text', n) || n,
       t.status, CASE WHEN t.status = 'SENT' THEN 'SM' || left(md5('sms' || n), 20) END,
       CASE WHEN t.status = 'FAILED' THEN 'Unreachable handset' END,
       CASE WHEN t.status = 'SENT' THEN ago('sms.at', n, 300) END, ago('sms.at', n, 300) - interval '2 seconds'
FROM generate_series(1, size('sms_logs')) n
CROSS JOIN LATERAL (SELECT 1 + pick('sms.sale', n, size('sales')::integer) AS no) s
CROSS JOIN LATERAL (SELECT (CASE WHEN n <= round(size('sms_logs') * 407 / 432.0) THEN 'SENT'
    WHEN n <= round(size('sms_logs') * 424 / 432.0) THEN 'FAILED' ELSE 'PENDING' END)::sms_status AS status) t;

INSERT INTO document_templates (id, name, template_type, version, html_content, is_active, created_by_id, created_at)
SELECT row_id('document_templates', n), initcap(replace(t.type, '_', ' ')) || ' v' || (1 + n / 5), t.type, 1 + n / 5,
       '<html><body><h1>{{customerName}}</h1><p>“Your cover” &amp; you</p></body></html>', n > size('document_templates') - 4,
       row_id('users', 1), ago('templates', n, 500)
FROM generate_series(1, size('document_templates')) n
CROSS JOIN LATERAL (SELECT (ARRAY['welcome_letter', 'direct_debit_form', 'service_agreement', 'invoice'])[1 + n % 4] AS type) t;

INSERT INTO generated_documents (
    id, sale_id, template_id, template_type, filename, status, file_size, download_count, last_downloaded_at, created_at
)
SELECT row_id('generated_documents', n), row_id('sales', 1 + pick('docs.sale', n, size('sales')::integer)), t.id,
       t.template_type, t.template_type || '_' || to_char(n, 'FM00000') || '.pdf', 'generated',
       40000 + pick('docs.size', n, 90000), pick('docs.downloads', n, 5),
       CASE WHEN pick('docs.downloads', n, 5) > 0 THEN ago('docs.downloaded', n, 60) END, ago('docs.created', n, 300)
FROM generate_series(1, size('generated_documents')) n
JOIN document_templates t ON t.id = row_id('document_templates', 1 + pick('docs.template', n, size('document_templates')::integer));

INSERT INTO lead_import_batches (
    id, file_name, total_rows, imported_rows, failed_rows, field_mapping, imported_by_id, created_at
)
SELECT row_id('lead_import_batches', n), 'leads_' || to_char(today() - n::integer * 9, 'YYYY_MM_DD') || '.csv', 250,
       250 - n::integer % 7, n::integer % 7, jsonb_build_object('Forename', 'firstName', 'Tel', 'phoneNumber'),
       row_id('users', 1 + n % 2), ago('batches', n, 360)
FROM generate_series(1, size('lead_import_batches')) n;

INSERT INTO leads (
    id, first_name, last_name, phone_number, email, address_line1, postcode, status, assigned_agent_id,
    import_batch_id, callback_at, notes, created_at
)
SELECT row_id('leads', n),
       CASE b.kind WHEN 0 THEN 'Test' WHEN 1 THEN 'asdf' WHEN 2 THEN 'JosÃ©' ELSE first_name('leads', n) END,
       CASE b.kind WHEN 0 THEN 'Test' WHEN 1 THEN 'qwerty'
           ELSE CASE WHEN n % 30 <> 29 THEN last_name('leads', n) END END,
       CASE b.kind WHEN 3 THEN '00000000000' WHEN 4 THEN '1234567' WHEN 5 THEN 'call after 6' ELSE phone('leads', n) END,
       CASE b.kind WHEN 6 THEN 'somebody@mailinator.com' WHEN 7 THEN 'not an address'
           ELSE CASE WHEN n % 3 = 0 THEN 'lead' || n || '@example.org' END END,
       CASE WHEN n % 4 > 0 THEN street('leads.street', n) END,
       CASE b.kind WHEN 8 THEN 'XXXX' ELSE CASE WHEN n % 4 > 0 THEN postcode('leads.postcode', n) END END,
       (ARRAY['NEW', 'CALLBACK', 'NOT_INTERESTED', 'NO_ANSWER', 'DO_NOT_CALL', 'NEW'])[1 + n % 6]::lead_status,
       CASE WHEN n % 6 > 0 THEN row_id('users', 1 + pick('leads.agent', n, size('users')::integer)) END,
       row_id('lead_import_batches', 1 + pick('leads.batch', n, size('lead_import_batches')::integer)),
       CASE WHEN n % 6 = 1 THEN anchor() + make_interval(hours => 1 + n::integer % 90) END,
       CASE n % 17 WHEN 1 THEN '=cmd|calc' WHEN 2 THEN E'Two\nlines' WHEN 3 THEN '' WHEN 4 THEN 'Asked for "Sandra", not her' END,
       ago('leads.created', n, 360)
FROM generate_series(1, size('leads')) n
CROSS JOIN LATERAL (SELECT CASE WHEN n % 20 = 7 THEN (n / 20) % 9 END AS kind) b;

INSERT INTO lead_disposition_history (lead_id, agent_id, from_status, to_status, notes, created_at)
SELECT row_id('leads', n), row_id('users', 1 + pick('disposition.agent', n * 8 + k, size('users')::integer)),
       CASE WHEN k = 1 THEN NULL ELSE 'NEW' END::lead_status,
       (CASE WHEN k = 1 THEN 'NEW' ELSE (ARRAY['NO_ANSWER', 'CALLBACK', 'NOT_INTERESTED'])[1 + n % 3] END)::lead_status,
       CASE WHEN n % 5 = 0 THEN 'Ring back after 6' END, ago('leads.created', n, 360) + make_interval(mins => 10 * k)
FROM generate_series(1, size('leads')) n
CROSS JOIN LATERAL generate_series(1, 1 + pick('disposition', n, 3)) k;

INSERT INTO field_configurations (entity, field_name, label, is_required, display_order, options, updated_at)
SELECT (ARRAY['sale', 'lead'])[1 + n % 2], 'field_' || n, 'Field ' || n, n % 3 = 0, n,
       CASE WHEN n % 4 = 0 THEN jsonb_build_object('choices', jsonb_build_array('Yes', 'No'), 'snake_key', 1.50) END,
       ago('fields', n, 200)
FROM generate_series(1, size('field_configurations')) n;

INSERT INTO lead_to_sale_conversions (id, lead_id, sale_id, converted_by_id, converted_at)
SELECT row_id('lead_to_sale_conversions', n), row_id('leads', n), row_id('sales', n),
       row_id('users', 1 + pick('sales.agent', n, size('users')::integer)), ago('sales.created', n, 400)
FROM generate_series(1, size('lead_to_sale_conversions')) n;

-- 81 of 89 arrived (sent, opened or clicked), eight bounced.
INSERT INTO email_log (
    id, sale_id, lead_id, recipient, subject, status, open_count, click_count, bounce_reason, sent_at, opened_at,
    clicked_at, created_at
)
SELECT row_id('email_log', n), CASE WHEN n % 4 > 0 THEN row_id('sales', 1 + n % size('sales')) END,
       CASE WHEN n % 4 = 0 THEN row_id('leads', 1 + n % size('leads')) END, 'reader' || n || '@example.co.uk',
       one(ARRAY['Welcome to your cover', 'Your direct debit', 'How did we do?'], 'email.subject', n), t.status,
       CASE WHEN t.status IN ('OPENED', 'CLICKED') THEN 1 + pick('email.opens', n, 4) ELSE 0 END,
       CASE WHEN t.status = 'CLICKED' THEN 1 + pick('email.clicks', n, 2) ELSE 0 END,
       CASE WHEN t.status = 'BOUNCED' THEN 'mailbox full' END, ago('email.at', n, 120),
       CASE WHEN t.status IN ('OPENED', 'CLICKED') THEN ago('email.at', n, 120) + interval '1 hour' END,
       CASE WHEN t.status = 'CLICKED' THEN ago('email.at', n, 120) + interval '2 hours' END,
       ago('email.at', n, 120) - interval '1 second'
FROM generate_series(1, size('email_log')) n
CROSS JOIN LATERAL (SELECT (CASE WHEN n > round(size('email_log') * 81 / 89.0) THEN 'BOUNCED'
    ELSE (ARRAY['SENT', 'OPENED', 'CLICKED', 'OPENED'])[1 + n % 4] END)::email_status AS status) t;

INSERT INTO communication_log (
    id, channel, direction, sale_id, lead_id, agent_id, summary, duration_seconds, happened_at
)
SELECT row_id('communication_log', n), c.channel, CASE WHEN n % 7 = 0 THEN 'INBOUND' ELSE 'OUTBOUND' END,
       CASE WHEN n % 2 = 0 THEN row_id('sales', 1 + pick('communication.sale', n, size('sales')::integer)) END,
       CASE WHEN n % 2 = 1 THEN row_id('leads', 1 + pick('communication.lead', n, size('leads')::integer)) END,
       row_id('users', 1 + pick('communication.agent', n, size('users')::integer)),
       one(ARRAY['Explained the cover', 'Left a message', 'Asked to be called "tomorrow"'], 'communication.text', n),
       CASE WHEN c.channel IN ('CALL', 'MEETING') THEN 20 + pick('communication.seconds', n, 1700) END,
       ago('communication.at', n, 300)
FROM generate_series(1, size('communication_log')) n
CROSS JOIN LATERAL (SELECT (ARRAY['CALL', 'CALL', 'SMS', 'EMAIL', 'CALL', 'MEETING', 'LETTER'])[1 + n % 7]::communication_channel
    AS channel) c;

INSERT INTO _prisma_migrations (id, migration_name, finished_at)
SELECT md5('migration' || n), '2025' || to_char(n, 'FM00') || '01_add_communication_tables', anchor() - make_interval(days => 300 - n)
FROM generate_series(1, 6) n;
