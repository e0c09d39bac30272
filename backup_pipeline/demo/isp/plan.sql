-- Who the customers are and what they were billed and paid, worked out once; the tables of data_customers.sql and
-- data_billing.sql are views of this plan, so their money adds up by construction.

CREATE UNLOGGED TABLE demo.customer_plan AS
SELECT n AS no,
       9 + pick('customers.area', n, 52) AS area_no,
       CASE WHEN n % 45 = 0 THEN 11 + pick('customers.package', n, 3) WHEN n % 50 = 1 THEN 14
            ELSE (ARRAY[1, 2, 2, 2, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 8, 9, 10])
                 [1 + pick('customers.package', n, 20)] END AS package_no,
       1 + pick('customers.router', n, size('routers')::integer) AS router_no,
       CASE WHEN n % 5 = 0 THEN 1 + pick('customers.reseller', n, size('resellers')::integer) END AS reseller_no,
       (CASE WHEN n % 25 = 11 THEN 'pending' WHEN n % 16 = 3 THEN 'disconnected' WHEN n % 12 = 5 THEN 'suspended'
             ELSE 'active' END)::customer_status AS status,
       (CASE WHEN n % 20 = 8 THEN 'hotspot' WHEN n % 10 = 6 THEN 'static'
           ELSE 'pppoe' END)::connection_type AS connection,
       CASE WHEN n % 25 = 11 THEN ago('customers.created', n, 14)
            ELSE ago('customers.created', n, 1600) - interval '14 days' END AS created_at
FROM generate_series(1, size('customers')) n
ORDER BY n;

-- One invoice per customer and month, for the five months up to the anchor's: package, sometimes an extra, sometimes a
-- discount.
CREATE UNLOGGED TABLE demo.invoice_plan AS
SELECT i.*, i.paid_first + i.paid_second AS paid,
       (CASE WHEN i.outcome = 'cancelled' THEN 'cancelled' WHEN i.paid_first + i.paid_second = i.total THEN 'paid'
             WHEN i.paid_first > 0 THEN 'partial' WHEN i.due_date < today() THEN 'overdue'
             ELSE 'unpaid' END)::invoice_status AS status
FROM (
    SELECT b.*, b.issue_date + 18 AS due_date,
           CASE b.outcome WHEN 'full' THEN b.total WHEN 'twice' THEN round(b.total * 0.6)
               WHEN 'partial' THEN round(b.total * 0.4) ELSE 0 END AS paid_first,
           CASE b.outcome WHEN 'twice' THEN b.total - round(b.total * 0.6) ELSE 0 END AS paid_second
    FROM (
        SELECT s.serial, c.no AS customer_no, c.reseller_no, c.package_no, p.name AS package, p.price,
               least(s.month_start + pick('invoices.day', s.serial, 3), today()) AS issue_date,
               e.description AS extra, e.quantity, e.unit_price, d.discount,
               p.price + coalesce(round(e.quantity * e.unit_price, 2), 0) - d.discount AS total,
               CASE WHEN chance('invoices.cancelled', s.serial, 1) THEN 'cancelled'
                    WHEN c.status = 'suspended' AND m < 2 THEN 'none'
                    WHEN m = 0 THEN one(
                        ARRAY['full', 'full', 'full', 'full', 'full', 'twice', 'partial', 'none', 'none', 'none'],
                        'invoices.outcome', s.serial)
                    WHEN chance('invoices.outcome', s.serial, 84) THEN 'full'
                    ELSE one(ARRAY['twice', 'partial', 'none'], 'invoices.late', s.serial) END AS outcome
        FROM demo.customer_plan c
        CROSS JOIN generate_series(0, 4) m
        CROSS JOIN LATERAL (
            SELECT c.no * 8 + m AS serial,
                   (date_trunc('month', today()::timestamp) - make_interval(months => m))::date AS month_start
        ) s
        JOIN demo.package p ON p.no = c.package_no
        LEFT JOIN LATERAL (
            SELECT x.description, x.quantity, x.unit_price
            FROM (VALUES
                (0, 'Real IP', 1::numeric(12,2), 200.00::numeric(12,2)),
                (1, 'UTP cable (metre)', 5 + pick('invoices.metres', s.serial, 400) / 10.0, 22.50),
                (2, 'ওটিটি প্যাক', 1, 150.00),
                (3, 'Router instalment, "TP-Link" AC1200', 1, 499.99),
                (4, 'Extra connection', 2, 75.25)
            ) AS x(no, description, quantity, unit_price)
            WHERE chance('invoices.extra', s.serial, 30) AND x.no = pick('invoices.extra#', s.serial, 5)
        ) e ON true
        CROSS JOIN LATERAL (
            SELECT CASE WHEN chance('invoices.discount', s.serial, 8) THEN round(p.price * 0.1) ELSE 0 END AS discount
        ) d
        WHERE c.status <> 'pending' AND (c.status <> 'disconnected' OR m > 2) AND c.created_at < s.month_start
    ) b
) i
ORDER BY i.serial;

CREATE VIEW demo.payment_plan AS
SELECT i.serial * 2 + p.nth AS no, i.serial, i.customer_no, i.reseller_no, p.amount,
       moment('payments.at', i.serial * 2 + p.nth,
           i.issue_date + 1 + p.nth * 7 + pick('payments.day', i.serial, 7)) AS paid_at,
       one(
           ARRAY['bkash', 'bkash', 'bkash', 'bkash', 'nagad', 'nagad', 'cash', 'cash', 'cash', 'rocket', 'bank',
                 'card'],
           'payments.method', i.serial * 2 + p.nth
       )::payment_method AS method
FROM demo.invoice_plan i
CROSS JOIN LATERAL (VALUES (0, i.paid_first), (1, i.paid_second)) AS p(nth, amount)
WHERE p.amount > 0;
