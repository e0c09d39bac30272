-- Invoices and what became of them: items, billing records, payments, commissions, the accounting.

INSERT INTO invoices (
    id, invoice_number, customer_id, total, paid_amount, status, issue_date, due_date, notes, created_at
)
SELECT row_id('invoices', serial), 'INV-' || to_char(issue_date, 'YYYYMM') || '-' || to_char(customer_no, 'FM0000000'),
       row_id('customers', customer_no), total, paid, status, issue_date, due_date,
       CASE WHEN serial % 20 = 9 THEN remark('invoices.notes', serial / 3) END,
       moment('invoices.created', serial, issue_date)
FROM demo.invoice_plan;

INSERT INTO invoice_items (id, invoice_id, line_no, description, quantity, unit_price, total)
SELECT row_id('invoice_items', i.serial * 4 + l.line_no), row_id('invoices', i.serial), l.line_no, l.description,
       l.quantity, l.unit_price, round(l.quantity * l.unit_price, 2)
FROM demo.invoice_plan i
CROSS JOIN LATERAL (VALUES
    (1, i.package || to_char(i.issue_date, ' – FMMonth YYYY'), 1::numeric(12,2), i.price),
    (2, i.extra, i.quantity, i.unit_price),
    (3, CASE WHEN i.discount > 0 THEN 'Discount – ঈদ অফার' END, 1, -i.discount)
) AS l(line_no, description, quantity, unit_price)
WHERE l.description IS NOT NULL;

INSERT INTO billing_records (
    id, customer_id, package_id, invoice_id, amount, status, billing_date, due_date, created_at
)
SELECT row_id('billing_records', serial), row_id('customers', customer_no), row_id('packages', package_no),
       row_id('invoices', serial), price, status, issue_date, due_date, moment('billing.created', serial, issue_date)
FROM demo.invoice_plan;

INSERT INTO payments (
    id, customer_id, invoice_id, amount, method, reference, received_by, note, payment_date, created_at
)
SELECT row_id('payments', no), row_id('customers', customer_no), row_id('invoices', serial), amount, method,
       CASE WHEN method <> 'cash' THEN upper(left(md5('payments.reference' || no), 10)) END,
       CASE WHEN method IN ('cash', 'bank')
            THEN row_id('employees', 1 + pick('payments.employee', no, size('employees')::integer)) END,
       CASE WHEN no % 15 = 0 THEN remark('payments.note', no / 5) END, paid_at, paid_at
FROM demo.payment_plan;

INSERT INTO reseller_commissions (id, reseller_id, customer_id, payment_id, amount, status, created_at)
SELECT row_id('reseller_commissions', p.no), row_id('resellers', p.reseller_no), row_id('customers', p.customer_no),
       row_id('payments', p.no), round(p.amount * commission_rate(p.reseller_no) / 100, 2),
       (CASE WHEN p.paid_at < anchor() - interval '30 days' THEN 'paid' ELSE 'pending' END)::payout_status, p.paid_at
FROM demo.payment_plan p
WHERE p.reseller_no IS NOT NULL;

-- Every payment is an income of its day …
INSERT INTO transactions (
    id, type, amount, payment_method, category, payment_id, transaction_date, description, details, created_at
)
SELECT row_id('transactions', no), 'income', amount, method, 'internet_bill', row_id('payments', no),
       (paid_at AT TIME ZONE INTERVAL '+06:00')::date, 'Bill of ISP-' || to_char(customer_no, 'FM0000000'),
       jsonb_build_object('channel', method, 'automatic', method NOT IN ('cash', 'bank'), 'invoice', serial), paid_at
FROM demo.payment_plan;

-- … and the business spends, too.
INSERT INTO transactions (
    id, type, amount, payment_method, category, payment_id, transaction_date, description, details, created_at
)
SELECT row_id('expenses', n), 'expense', 50 + pick('expenses.amount', n, 4000000) / 100.0,
       CASE WHEN n % 6 > 0 THEN one(ARRAY['cash', 'bank', 'bkash'], 'expenses.method', n)::payment_method END,
       one(ARRAY['bandwidth', 'office_rent', 'salary', 'fiber_and_cable', 'যাতায়াত', 'electricity', 'misc'],
           'expenses.category', n),
       NULL, (x.at AT TIME ZONE INTERVAL '+06:00')::date, remark('expenses.description', n),
       CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN 'null'::jsonb WHEN 2 THEN '[]'::jsonb
            ELSE jsonb_build_object('vendor', business_name('expenses.vendor', n), 'vat', n % 15,
                                    'lines', jsonb_build_array(n, 'x', NULL)) END,
       x.at
FROM generate_series(1, size('expenses')) n
CROSS JOIN LATERAL (SELECT ago('expenses.at', n, 300) AS at) x
ORDER BY n;
