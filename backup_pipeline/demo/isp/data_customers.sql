-- Customers, their PPPoE accounts and their resellers.

INSERT INTO customers (
    id, user_id, name, phone, alt_phone, email, address, area_id, package_id, router_id, status, connection_type,
    billing_cycle, expiry_date, total_due, latitude, longitude, tags, metadata, notes, created_at, updated_at
)
SELECT row_id('customers', c.no), 'ISP-' || to_char(c.no, 'FM0000000'), customer_name(c.no),
       phone('customers.phone', c.no),
       CASE c.no % 7 WHEN 0 THEN '+88' || phone('customers.alt', c.no) WHEN 1 THEN phone('customers.alt', c.no)
           WHEN 2 THEN '' END,
       CASE WHEN chance('customers.email', c.no, 35) THEN 'customer' || c.no || '@example.com' END,
       CASE
           WHEN c.no % 41 = 40 THEN NULL
           WHEN c.no % 3 = 0 THEN 'বাসা ' || bangla(1 + pick('customers.house', c.no, 120)) || ', রোড '
                || bangla(1 + pick('customers.road', c.no, 30)) || ', ' || a.name
           WHEN c.no % 11 = 4 THEN 'Flat ' || chr(65 + pick('customers.flat', c.no, 8)) || '-' || (1 + c.no % 9)
                || E'\nHouse ' || (1 + pick('customers.house', c.no, 120)) || E', near "Boro Masjid"\n'
                || a.name || ', ' || a.district
           ELSE 'House ' || (1 + pick('customers.house', c.no, 120)) || ', Road '
                || (1 + pick('customers.road', c.no, 30)) || ', ' || a.name || ', ' || a.district
       END,
       row_id('areas', c.area_no), row_id('packages', c.package_no),
       CASE WHEN c.no % 53 > 0 THEN row_id('routers', c.router_no) END, c.status, c.connection,
       (CASE WHEN c.no % 31 = 0 THEN 'yearly' WHEN c.no % 17 = 0 THEN 'quarterly' ELSE 'monthly' END)::billing_cycle,
       CASE c.status WHEN 'pending' THEN NULL WHEN 'active' THEN today() + pick('customers.expiry', c.no, 30)
            ELSE today() - 1 - pick('customers.expiry', c.no, 60) END,
       coalesce(d.due, 0),
       CASE WHEN c.no % 4 = 0 THEN 23.7 + pick('customers.latitude', c.no, 1000000) / 5e6 END,
       CASE WHEN c.no % 4 = 0 THEN 90.3 + pick('customers.longitude', c.no, 1000000) / 5e6 END,
       CASE c.no % 6 WHEN 0 THEN ARRAY['vip'] WHEN 1 THEN ARRAY['corporate', 'late payer']
           WHEN 2 THEN ARRAY['পুরাতন', 'a,b "c"'] ELSE '{}' END,
       CASE WHEN c.no % 10 = 9 THEN NULL WHEN c.no % 50 = 8 THEN 'null'::jsonb
            ELSE jsonb_build_object(
                'onu_port', '1/' || c.no % 8 || '/' || c.no % 64,
                'signal_dbm', round(-15 - (c.no % 120) / 10.0, 1),
                'referred_by', CASE WHEN c.no % 9 = 0 THEN 'ISP-' || to_char(1 + c.no / 2, 'FM0000000') END,
                'floor', c.no % 12,
                'ভাষা', 'বাংলা'
            ) END,
       remark('customers.notes', c.no), c.created_at, greatest(c.created_at, ago('customers.updated', c.no, 90))
FROM demo.customer_plan c
JOIN demo.area a ON a.no = c.area_no
LEFT JOIN (
    SELECT customer_no, sum(total - paid) AS due
    FROM demo.invoice_plan
    WHERE status <> 'cancelled'
    GROUP BY customer_no
) d ON d.customer_no = c.no
ORDER BY c.no;

-- One account per PPPoE customer; one in forty has a second one for another floor.
INSERT INTO mikrotik_users (
    id, customer_id, router_id, username, password, profile, status, ip_address, caller_id, bytes_in, bytes_out,
    last_login_at, created_at
)
SELECT row_id('mikrotik_users', u.no), row_id('customers', c.no), row_id('routers', c.router_no),
       lower(one(ARRAY['rahim', 'karim', 'nusrat', 'tanvir', 'farhana', 'imran', 'rakib', 'arif'], 'pppoe.name', c.no))
           || '.' || c.no || CASE nth WHEN 1 THEN '-2f' ELSE '' END,
       secret('mikrotik_users.password', u.no, 10), p.mbps || 'M',
       (CASE c.status WHEN 'active' THEN 'enabled' WHEN 'suspended' THEN 'expired' ELSE 'disabled' END)::pppoe_status,
       CASE WHEN c.status = 'active' AND u.no % 6 > 0 THEN '10.64.0.0'::inet + u.no % 4000000 END,
       CASE WHEN u.no % 5 > 0 THEN mac('pppoe.caller', u.no) END,
       pick('pppoe.in', u.no, 2000000000)::bigint * 900, pick('pppoe.out', u.no, 2000000000)::bigint * 90,
       CASE WHEN c.status <> 'pending' THEN greatest(c.created_at, ago('pppoe.login', u.no, 5)) END, c.created_at
FROM demo.customer_plan c
JOIN demo.package p ON p.no = c.package_no
CROSS JOIN generate_series(0, 1) nth
CROSS JOIN LATERAL (SELECT c.no * 2 + nth AS no) u
WHERE c.connection = 'pppoe' AND (nth = 0 OR c.no % 40 = 1)
ORDER BY u.no;

INSERT INTO reseller_customers (reseller_id, customer_id, assigned_at)
SELECT row_id('resellers', c.reseller_no), row_id('customers', c.no), c.created_at
FROM demo.customer_plan c
WHERE c.reseller_no IS NOT NULL
ORDER BY c.no;
