-- Support, field work, stock and messages; and rows in the application's own tables.

CREATE FUNCTION demo.some_customer(label text, n bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
RETURN 1 + pick(label, n, size('customers')::integer);

CREATE FUNCTION demo.some_employee(label text, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql
RETURN row_id('employees', 1 + pick(label, n, size('employees')::integer));

CREATE UNLOGGED TABLE demo.ticket_plan AS
SELECT n AS no, some_customer('tickets.customer', n) AS customer_no, ago('tickets.created', n, 365) AS created_at,
       (CASE WHEN n % 10 = 0 THEN 'open' WHEN n % 10 = 1 THEN 'in_progress' WHEN n % 10 < 5 THEN 'resolved'
           ELSE 'closed' END)::ticket_status AS status
FROM generate_series(1, size('support_tickets')) n
ORDER BY n;

INSERT INTO support_tickets (
    id, ticket_number, token_no, customer_id, subject, description, category, priority, status, assigned_to,
    resolved_at, created_at
)
SELECT row_id('support_tickets', no), 'TKT-' || to_char(no, 'FM000000'),
       CASE WHEN no % 3 = 0 THEN (no % 200)::integer END,
       row_id('customers', customer_no),
       one(ARRAY[
           'No internet since morning', 'নেট স্লো, গেম খেলা যাচ্ছে না 😡', 'Router light is red (LOS)',
           'Change of package', '=Speed test shows 1 Mbps', 'Bill paid but line is off', 'ONU পুড়ে গেছে',
           'New connection, "urgent"', '-20 dBm, please check'
       ], 'tickets.subject', no),
       remark('tickets.description', no),
       (ARRAY['connection', 'speed', 'billing', 'hardware', 'other'])[1 + pick('tickets.category', no, 5)],
       (ARRAY['low', 'medium', 'medium', 'high', 'urgent']::ticket_priority[])[1 + pick('tickets.priority', no, 5)],
       status,
       CASE WHEN no % 10 > 0 THEN some_employee('tickets.employee', no) END,
       CASE WHEN status IN ('resolved', 'closed')
            THEN least(anchor(), created_at + make_interval(mins => 20 + pick('tickets.minutes', no, 4000))) END,
       created_at
FROM demo.ticket_plan;

INSERT INTO ticket_comments (ticket_id, employee_id, comment, is_internal, created_at)
SELECT row_id('support_tickets', t.no), CASE WHEN k % 2 = 0 THEN some_employee('comments.employee', c.no) END,
       coalesce(remark('comments.text', c.no), one(ARRAY[
           'Technician is on the way', 'লাইন ম্যান পাঠানো হয়েছে', 'Restarted the ONU, please check now',
           'ধন্যবাদ, এখন ঠিক আছে 👍', 'Fiber cut near the market; splicing tonight', 'Customer did not pick up the phone'
       ], 'comments.word', c.no)),
       k % 4 = 0, least(anchor(), t.created_at + make_interval(mins => k * 25))
FROM demo.ticket_plan t
CROSS JOIN generate_series(1, 4) k
CROSS JOIN LATERAL (SELECT t.no * 4 + k AS no) c
WHERE k <= t.no % 5
ORDER BY t.no, k;

INSERT INTO service_tasks (
    id, customer_id, ticket_id, title, task_type, status, priority, assigned_to, scheduled_date, completed_at,
    created_at
)
SELECT row_id('service_tasks', n),
       CASE WHEN n % 12 > 0 THEN row_id('customers', coalesce(t.customer_no, some_customer('tasks.customer', n))) END,
       row_id('support_tickets', t.no),
       (ARRAY['Install ONU and router', 'ফাইবার মেরামত', 'Shift line to new flat, 4th floor', 'Collect due bill',
           'Remove ONU'])[k.kind],
       (ARRAY['installation', 'repair', 'relocation', 'collection', 'disconnection']::task_type[])[k.kind],
       (CASE WHEN s.day > today() THEN 'pending' WHEN n % 14 = 0 THEN 'cancelled' WHEN n % 9 = 0 THEN 'in_progress'
           ELSE 'completed' END)::task_status,
       (ARRAY['low', 'medium', 'high', 'urgent']::ticket_priority[])[1 + pick('tasks.priority', n, 4)],
       CASE WHEN n % 8 > 0 THEN some_employee('tasks.employee', n) END, CASE WHEN n % 33 > 0 THEN s.day END,
       CASE WHEN s.day <= today() AND n % 14 > 0 AND n % 9 > 0 THEN moment('tasks.completed', n, s.day) END,
       moment('tasks.created', n, s.day - 3)
FROM generate_series(1, size('service_tasks')) n
CROSS JOIN LATERAL (SELECT today() + 10 - pick('tasks.day', n, 300) AS day) s
CROSS JOIN LATERAL (SELECT 1 + pick('tasks.kind', n, 5) AS kind) k
LEFT JOIN demo.ticket_plan t ON t.no = n AND n % 2 = 0
ORDER BY n;

CREATE UNLOGGED TABLE demo.item_plan AS
SELECT n AS no, p.name, p.price, p.has_serial,
       (CASE WHEN n % 40 = 0 THEN 'lost' WHEN n % 23 = 0 THEN 'damaged' WHEN n % 17 = 0 THEN 'in_repair'
           WHEN n % 2 = 0 THEN 'assigned' ELSE 'in_stock' END)::inventory_status AS status,
       ago('items.bought', n, 700) - interval '60 days' AS bought_at
FROM generate_series(1, size('inventory_items')) n
JOIN (VALUES
    (0, 'ONU XPON 1GE', 950.00, true), (1, 'TP-Link Archer C6', 3200.00, true), (2, 'Tenda F3 Router', 1250.50, true),
    (3, 'MikroTik hAP lite', 2900.00, true),
    (4, 'ড্রপ ক্যাবল ২ কোর (১০০০ মি.)', 5400.00, false), (5, 'OLT 8 Port, "GPON"', 145000.00, true),
    (6, 'Splitter 1:8', NULL, false)
) AS p(no, name, price, has_serial) ON p.no = pick('items.product', n, 7)
ORDER BY n;

INSERT INTO inventory_items (
    id, product_name, serial_number, mac_address, status, purchase_price, purchase_date, supplier, customer_id,
    created_at
)
SELECT row_id('inventory_items', no), name,
       CASE WHEN has_serial THEN 'SN' || upper(left(md5('items.serial' || no), 8)) || no END,
       CASE WHEN has_serial THEN mac('items.mac', no) END, status, price,
       (bought_at AT TIME ZONE INTERVAL '+06:00')::date,
       one(ARRAY['Star Tech Ltd.', 'BDCOM Online', 'M/s. Alam Traders, Stadium Market', 'সিগমা টেলিকম', NULL],
           'items.supplier', no),
       CASE WHEN status = 'assigned' THEN row_id('customers', some_customer('items.customer', no)) END, bought_at
FROM demo.item_plan;

-- Received first; moved on once when the item is no longer in stock. An item's last movement ends in its status.
INSERT INTO stock_movements (item_id, from_status, to_status, quantity, moved_by, note, moved_at)
SELECT row_id('inventory_items', i.no), CASE k WHEN 2 THEN 'in_stock'::inventory_status END,
       CASE k WHEN 1 THEN 'in_stock' ELSE i.status END,
       CASE WHEN i.has_serial THEN 1 ELSE 1 + (i.no % 9)::integer END,
       CASE WHEN i.no % 7 > 0 THEN some_employee('moves.employee', i.no) END,
       CASE k WHEN 2 THEN remark('moves.note', i.no) END,
       i.bought_at + make_interval(hours => (k - 1) * (5 + pick('moves.hours', i.no, 1400)))
FROM demo.item_plan i
CROSS JOIN generate_series(1, 2) k
WHERE k = 1 OR i.status <> 'in_stock'
ORDER BY i.no, k;

INSERT INTO metered_usage_logs (
    product_name, customer_id, used_by, start_meter, end_meter, quantity, color, core_count, used_at
)
SELECT (ARRAY['Drop cable', 'UTP Cat 6', 'ফাইবার ক্যাবল'])[1 + pick('usage.product', n, 3)],
       CASE WHEN n % 10 > 0 THEN row_id('customers', some_customer('usage.customer', n)) END,
       some_employee('usage.employee', n),
       m.start_meter, m.start_meter + m.used, m.used,
       one(ARRAY['black', 'white', 'blue', 'কালো', NULL], 'usage.color', n),
       CASE WHEN n % 4 > 0 THEN (ARRAY[2, 4, 8, 12])[1 + pick('usage.cores', n, 4)] END, ago('usage.at', n, 500)
FROM generate_series(1, size('metered_usage_logs')) n
CROSS JOIN LATERAL (
    SELECT pick('usage.start', n, 90000) / 100.0 AS start_meter, (100 + pick('usage.used', n, 15000)) / 100.0 AS used
) m
ORDER BY n;

INSERT INTO reminder_logs (customer_id, reminder_type, channel, message, delivered, gateway_response, sent_at)
SELECT row_id('customers', c.no), t.kind,
       one(ARRAY['sms', 'sms', 'whatsapp', 'email'], 'reminders.channel', n)::reminder_channel,
       CASE t.kind WHEN 'bill_due' THEN 'প্রিয় গ্রাহক ISP-' || to_char(c.no, 'FM0000000')
           || E',\nআপনার ইন্টারনেট বিল ৳' || bangla(400 + pick('reminders.bill', n, 2000)) || ' বকেয়া আছে। ধন্যবাদ 🙏'
            WHEN 'expiry'
                THEN 'Dear customer, your line expires tomorrow. Pay by bKash or Nagad; ignore this if you have paid.'
            ELSE E'Welcome! 🎉\r\nYour line is active. "Happy browsing"' END,
       CASE WHEN n % 19 > 0 THEN n % 23 > 0 END,
       CASE WHEN n % 3 > 0 THEN jsonb_build_object('code', 200 + n % 2, 'parts', 1 + n % 3) END,
       ago('reminders.sent', n, 180)
FROM generate_series(1, size('reminder_logs')) n
CROSS JOIN LATERAL (SELECT some_customer('reminders.customer', n) AS no) c
CROSS JOIN LATERAL (SELECT one(ARRAY['bill_due', 'bill_due', 'expiry', 'welcome'], 'reminders.kind', n) AS kind) t
ORDER BY n;

INSERT INTO call_records (customer_id, employee_id, phone, duration_seconds, notes, call_date)
SELECT CASE WHEN n % 20 > 0 THEN row_id('customers', c.no) END, some_employee('calls.employee', n),
       phone(CASE WHEN n % 20 > 0 THEN 'customers.phone' ELSE 'calls.phone' END, c.no), pick('calls.seconds', n, 900),
       remark('calls.notes', n), ago('calls.at', n, 365)
FROM generate_series(1, size('call_records')) n
CROSS JOIN LATERAL (SELECT some_customer('calls.customer', n) AS no) c
ORDER BY n;

INSERT INTO schema_migrations (version, applied_at)
SELECT to_char(today() - 1000 + n * 20, 'YYYYMMDD') || '0000' || n, anchor() - make_interval(days => 1000 - n * 20)
FROM generate_series(1, 42) n;

INSERT INTO sessions (id, employee_id, token, ip_address, expires_at)
SELECT row_id('sessions', n), some_employee('sessions.employee', n), secret('sessions.token', n, 32),
       '103.4.144.0'::inet + n,
       anchor() + make_interval(hours => n::integer % 48)
FROM generate_series(1, size('sessions')) n;

INSERT INTO api_keys (id, name, key_hash, created_at)
SELECT row_id('api_keys', n), (ARRAY['bKash webhook', 'SMS gateway', 'mobile app'])[n], secret('api_keys.key', n, 32),
       anchor() - interval '200 days'
FROM generate_series(1, 3) n;
