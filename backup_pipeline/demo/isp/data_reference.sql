-- What everything else refers to: areas, packages, routers, staff, resellers.

CREATE TABLE demo.area (no integer, name text, district text, parent_no integer);
INSERT INTO demo.area VALUES
    (1, 'Dhaka', 'Dhaka', NULL), (2, 'Chattogram', 'Chattogram', NULL), (3, 'Gazipur', 'Gazipur', NULL),
    (4, 'Narayanganj', 'Narayanganj', NULL), (5, 'Sylhet', 'Sylhet', NULL), (6, 'Rajshahi', 'Rajshahi', NULL),
    (7, 'খুলনা', 'Khulna', NULL), (8, 'কুমিল্লা', 'Cumilla', NULL), (9, 'মিরপুর', 'Dhaka', 1),
    (10, 'Mirpur 1', 'Dhaka', 9), (11, 'Mirpur 10', 'Dhaka', 9), (12, 'Mirpur 11', 'Dhaka', 9),
    (13, 'মিরপুর ১২', 'Dhaka', 9), (14, 'Mirpur DOHS', 'Dhaka', 9), (15, 'Pallabi', 'Dhaka', 9),
    (16, 'Uttara', 'Dhaka', 1), (17, 'Uttara Sector 3', 'Dhaka', 16), (18, 'Uttara Sector 7', 'Dhaka', 16),
    (19, 'উত্তরা সেক্টর ১০', 'Dhaka', 16), (20, 'Uttara Sector 14', 'Dhaka', 16), (21, 'ধানমন্ডি', 'Dhaka', 1),
    (22, 'Mohammadpur', 'Dhaka', 1), (23, 'Adabor', 'Dhaka', 22), (24, 'Shyamoli', 'Dhaka', 22),
    (25, 'গুলশান', 'Dhaka', 1), (26, 'Banani', 'Dhaka', 25), (27, 'Badda', 'Dhaka', 1), (28, 'Rampura', 'Dhaka', 1),
    (29, 'বনশ্রী', 'Dhaka', 28), (30, 'Khilgaon', 'Dhaka', 1), (31, 'Malibagh', 'Dhaka', 1),
    (32, 'Motijheel', 'Dhaka', 1), (33, 'যাত্রাবাড়ী', 'Dhaka', 1), (34, 'Demra', 'Dhaka', 33),
    (35, 'Old Town (Lalbagh)', 'Dhaka', 1), (36, 'Wari', 'Dhaka', 1), (37, 'Savar', 'Dhaka', 1),
    (38, 'সাভার বাজার', 'Dhaka', 37), (39, 'Agrabad', 'Chattogram', 2), (40, 'Halishahar', 'Chattogram', 2),
    (41, 'Nasirabad', 'Chattogram', 2), (42, 'পাঁচলাইশ', 'Chattogram', 2), (43, 'Khulshi', 'Chattogram', 2),
    (44, 'Patenga', 'Chattogram', 2), (45, 'Tongi', 'Gazipur', 3), (46, 'টঙ্গী পূর্ব', 'Gazipur', 45),
    (47, 'Board Bazar', 'Gazipur', 3), (48, 'Konabari', 'Gazipur', 3), (49, 'Fatullah', 'Narayanganj', 4),
    (50, 'Siddhirganj', 'Narayanganj', 4), (51, 'চাষাঢ়া', 'Narayanganj', 4), (52, 'Zindabazar', 'Sylhet', 5),
    (53, 'Amberkhana', 'Sylhet', 5), (54, 'শাহজালাল উপশহর', 'Sylhet', 5), (55, 'Shaheb Bazar', 'Rajshahi', 6),
    (56, 'Motihar', 'Rajshahi', 6), (57, 'Sonadanga', 'Khulna', 7), (58, 'দৌলতপুর', 'Khulna', 7),
    (59, 'Kandirpar', 'Cumilla', 8), (60, 'Tomsom Bridge', 'Cumilla', 8);
INSERT INTO areas (id, name, district, parent_id, is_active, created_at)
SELECT row_id('areas', no), name, district, row_id('areas', parent_no), no <> 44,
       anchor() - make_interval(days => 2000 - no)
FROM demo.area ORDER BY no;

CREATE TABLE demo.package (no integer, name text, mbps integer, price numeric(12,2), description text);
INSERT INTO demo.package VALUES
    (1, 'Student 5', 5, 400, 'Students only, card needed'), (2, 'Home 10', 10, 500, NULL),
    (3, 'Home 15', 15, 650, NULL), (4, 'Home 20', 20, 800, 'Most chosen'), (5, 'Home 30', 30, 1000, NULL),
    (6, 'পারিবারিক ৪০', 40, 1200, 'চারটি ডিভাইস, একটি বিল'), (7, 'Home 50', 50, 1500, ''),
    (8, 'Gamer 60', 60, 1800, E'Low ping\nReal IP included'), (9, 'Home 80', 80, 2200, NULL),
    (10, 'Home 100', 100, 2500, NULL), (11, 'Office 50', 50, 4500, 'Dedicated, 1:1'),
    (12, 'Office 100', 100, 8500, 'Dedicated, "carrier grade"'),
    (13, 'Corporate 200', 200, 16000.50, 'SLA 99.9%, 24/7'), (14, 'Old 2 Mbps', 2, 300, 'No longer sold');
INSERT INTO packages (
    id, name, speed, download_mbps, upload_mbps, price, validity_days, description, is_active, created_at
)
SELECT row_id('packages', no), name, mbps || ' Mbps', mbps, CASE WHEN no > 10 THEN mbps ELSE mbps / 2 END, price,
       CASE WHEN no = 1 THEN 28 ELSE 30 END, description, no <> 14, anchor() - make_interval(days => 1900 - no)
FROM demo.package ORDER BY no;

INSERT INTO routers (
    id, name, ip_address, api_port, api_username, api_password, api_secret, mode, model, area_id, is_active,
    last_seen_at, created_at
)
SELECT row_id('routers', n), a.name || ' POP ' || n, '10.10.0.0'::inet + n, 8728, 'isp-api',
       secret('routers.api_password', n, 16), CASE WHEN n % 3 > 0 THEN secret('routers.api_secret', n, 32) END,
       CASE WHEN n % 7 = 0 THEN 'hotspot' ELSE 'pppoe' END,
       one(ARRAY['CCR1036-8G-2S+', 'CCR2004-16G-2S+', 'RB4011iGS+', 'CCR1009-7G-1C'], 'routers.model', n),
       row_id('areas', a.no), n % 11 <> 0, ago('routers.seen', n, 1), ago('routers.created', n, 1500)
FROM generate_series(1, size('routers')) n
JOIN demo.area a ON a.no = 9 + pick('routers.area', n, 52)
ORDER BY n;

INSERT INTO employees (
    id, employee_code, name, phone, email, department, designation, status, joining_date, skills, nid, date_of_birth,
    basic_salary, bank_name, bank_account, password_hash, created_at
)
SELECT row_id('employees', n), 'EMP-' || to_char(n, 'FM00000'),
       CASE WHEN n % 3 = 0 THEN bangla_name('employees.name', n) ELSE english_name('employees.name', n) END,
       phone('employees.phone', n), CASE WHEN n % 4 > 0 THEN 'employee' || n || '@example.com' END, d.department,
       one(d.designations, 'employees.designation', n),
       (CASE WHEN n % 29 = 0 THEN 'resigned' WHEN n % 13 = 0 THEN 'on_leave' ELSE 'active' END)::employee_status,
       today() - 60 - pick('employees.joined', n, 2400),
       CASE n % 4 WHEN 0 THEN '{}' WHEN 1 THEN ARRAY['fiber splicing', 'MikroTik']
           WHEN 2 THEN ARRAY['Excel', 'বাংলা টাইপিং']
            ELSE ARRAY['ladder, 12 m', 'driving "light"'] END,
       digits('employees.nid', n, 13), today() - 8000 - pick('employees.born', n, 9000),
       15000 + 500 * pick('employees.salary', n, 90), CASE WHEN n % 5 > 0 THEN 'Dutch-Bangla Bank' END,
       CASE WHEN n % 5 > 0 THEN digits('employees.account', n, 13) END,
       secret('employees.password', n, 32), ago('employees.created', n, 2000)
FROM generate_series(1, size('employees')) n
JOIN (VALUES
    (0, 'Technical', ARRAY['Line technician', 'Fiber splicer', 'Network engineer']),
    (1, 'Support', ARRAY['Call center agent', 'Shift lead']),
    (2, 'Billing', ARRAY['Bill collector', 'Accountant']), (3, 'Sales', ARRAY['Sales executive', 'Area manager']),
    (4, 'প্রশাসন', ARRAY['HR officer', 'Store keeper', 'অফিস সহকারী'])
) AS d(no, department, designations) ON d.no = pick('employees.department', n, 5)
ORDER BY n;

INSERT INTO leave_requests (id, employee_id, leave_type, start_date, end_date, reason, status, created_at)
SELECT row_id('leave_requests', n), row_id('employees', 1 + pick('leave.employee', n, size('employees')::integer)),
       (ARRAY['casual', 'sick', 'annual', 'unpaid']::leave_type[])[1 + pick('leave.type', n, 4)], s.start_date,
       s.start_date + pick('leave.days', n, 6), remark('leave.reason', n),
       (CASE WHEN s.start_date > today() THEN 'pending' WHEN n % 9 = 0 THEN 'rejected'
           ELSE 'approved' END)::approval_status,
       least(anchor(), moment('leave.created', n, s.start_date - 7))
FROM generate_series(1, size('leave_requests')) n
CROSS JOIN LATERAL (SELECT today() + 30 - pick('leave.start', n, 400) AS start_date) s
ORDER BY n;

INSERT INTO payroll (
    id, employee_id, salary_month, basic_salary, allowances, deductions, net_salary, status, paid_on, bank_name,
    bank_account, created_at
)
SELECT row_id('payroll', p.no), row_id('employees', n), p.salary_month, p.basic, p.allowances, p.deductions,
       p.basic + p.allowances - p.deductions, (CASE WHEN m = 0 THEN 'pending' ELSE 'paid' END)::payout_status,
       CASE WHEN m > 0 THEN (p.salary_month + interval '1 month 4 days')::date END, e.bank_name, e.bank_account,
       least(anchor(), moment('payroll.created', p.no, (p.salary_month + interval '1 month - 1 day')::date))
FROM generate_series(1, size('employees')) n
CROSS JOIN generate_series(0, 11) m
JOIN employees e ON e.id = row_id('employees', n)
CROSS JOIN LATERAL (
    SELECT n * 12 + m AS no,
           (date_trunc('month', today()::timestamp) - make_interval(months => m))::date AS salary_month,
           e.basic_salary AS basic, round(e.basic_salary * 0.4, 2) AS allowances,
           100.00 * pick('payroll.deductions', n * 12 + m, 15) AS deductions
) p
ORDER BY n, m;

-- Per cent of what a reseller's customers pay: 5 to 25 in steps of a half.
CREATE FUNCTION demo.commission_rate(reseller_no bigint) RETURNS numeric IMMUTABLE LANGUAGE sql
RETURN 5 + pick('resellers.rate', reseller_no, 41) * 0.5;

INSERT INTO resellers (id, code, name, phone, area_id, commission_rate, status, created_at)
SELECT row_id('resellers', n), 'RS-' || to_char(n, 'FM0000'),
       CASE WHEN n % 3 = 0 THEN bangla_name('resellers.name', n) || ' নেটওয়ার্ক'
           ELSE english_name('resellers.name', n) || ' Net' END,
       phone('resellers.phone', n), row_id('areas', 9 + pick('resellers.area', n, 52)),
       commission_rate(n), CASE WHEN n % 8 = 0 THEN 'inactive' ELSE 'active' END,
       ago('resellers.created', n, 1500)
FROM generate_series(1, size('resellers')) n
ORDER BY n;
