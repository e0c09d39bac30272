-- Each business has so many rows of each table; `g` counts them through all businesses, and every link is a hash of it.

CREATE FUNCTION demo.person(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN one(ARRAY[
    'Rahim', 'Karim', 'Fatema', 'Nusrat', 'Jamal', 'Salma', 'Tanvir', 'Ayesha', 'Sohel', 'Mitu', 'আব্দুল', 'রোকেয়া',
    'Shirin', 'Habib', 'Lipi', 'Monir'
], 'person', n) || ' ' || one(ARRAY[
    'Ahmed', 'Islam', 'Begum', 'Hossain', 'Khan', 'Sarkar', 'Das', 'হোসেন', 'Akter', 'Chowdhury', 'O''Brien'
], 'person#', n);

INSERT INTO tax_rates VALUES
    ('standard', 'VAT 15 %', 15.00), ('reduced', 'VAT 7.5 %', 7.50), ('zero', 'Free of VAT', 0.00);

INSERT INTO businesses (id, name, status, owner_name, owner_email, city, created_at, closed_at)
SELECT row_id('businesses', b),
       one(ARRAY['Padma', 'Meghna', 'Jamuna', 'Shapla', 'Doyel', 'Surma', 'Rupali', 'Sonali'], 'business', b) || ' '
           || one(ARRAY['Electronics', 'Pharmacy', 'Grocery', 'Fashion', 'Hardware', 'Books'], 'business#', b) || ' ' || b,
       (CASE WHEN b % 20 = 9 THEN 'suspended' WHEN b % 50 = 31 THEN 'closed' ELSE 'active' END)::business_status,
       person(b), 'owner' || b || '@example.com',
       one(ARRAY['Dhaka', 'Chattogram', 'Sylhet', 'Khulna', 'Rajshahi'], 'city', b),
       ago('businesses.created', b, 900), CASE WHEN b % 50 = 31 THEN ago('businesses.closed', b, 60) END
FROM generate_series(1, size('businesses')) b;

INSERT INTO products (id, business_id, sku, name, price, cost, stock, tax_code, attributes, created_at, updated_at)
SELECT row_id('products', g), row_id('businesses', b), 'SKU-' || lpad(n::text, 5, '0'),
       one(ARRAY['Rice 5 kg', 'LED bulb', 'Shirt, blue', 'Notebook', 'Paracetamol', 'Screws (100)', 'Charger 20 W',
                 'চা পাতা', 'Saree "Jamdani"', 'Mustard oil'], 'product', g) || ' #' || n,
       20 + pick('product.price', g, 500000) / 100.0, CASE WHEN n % 7 > 0 THEN 15 + pick('product.cost', g, 300000) / 100.0 END,
       pick('product.stock', g, 400), one(ARRAY['standard', 'standard', 'reduced', 'zero'], 'product.tax', g),
       CASE n % 4 WHEN 0 THEN '{}'::jsonb ELSE jsonb_build_object('unit', 'pc', 'min', n % 9) END,
       ago('product.created', g, 700), ago('product.updated', g, 30)
FROM (SELECT b, n, (b - 1) * size('products') + n AS g
      FROM generate_series(1, size('businesses')) b, generate_series(1, size('products')) n) x;

INSERT INTO products (id, sku, name, price, tax_code)
SELECT row_id('templates', n), 'TEMPLATE-' || n, 'Template ' || n, 100 * n, 'standard' FROM generate_series(1, 3) n;

INSERT INTO customers (id, business_id, name, phone, email, address, balance, tags, created_at, updated_at)
SELECT row_id('customers', g), row_id('businesses', b), person(g),
       CASE WHEN n % 9 > 0 THEN '+8801' || digits('customer.phone', g, 9) END,
       CASE WHEN n % 3 = 0 THEN 'customer' || g || '@example.com' END,
       CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN E'House 7,\nRoad "3"' ELSE 'Road ' || n END,
       CASE WHEN n % 6 = 0 THEN -1 * pick('customer.due', g, 90000) / 100.0 ELSE 0 END,
       CASE WHEN n % 8 = 0 THEN ARRAY['regular', 'বাকি'] ELSE '{}' END,
       ago('customer.created', g, 800), ago('customer.updated', g, 60)
FROM (SELECT b, n, (b - 1) * size('customers') + n AS g
      FROM generate_series(1, size('businesses')) b, generate_series(1, size('customers')) n) x;

INSERT INTO workers (id, business_id, name, role, phone, salary, joined_on, left_on)
SELECT row_id('workers', g), row_id('businesses', b), person(g),
       CASE n WHEN 1 THEN 'manager' ELSE one(ARRAY['cashier', 'sales', 'store'], 'worker.role', g) END,
       '+8801' || digits('worker.phone', g, 9), 9000 + 500 * pick('worker.salary', g, 60),
       today() - pick('worker.joined', g, 900) - 100, CASE WHEN n % 7 = 6 THEN today() - pick('worker.left', g, 90) END
FROM (SELECT b, n, (b - 1) * size('workers') + n AS g
      FROM generate_series(1, size('businesses')) b, generate_series(1, size('workers')) n) x;

INSERT INTO sales (id, business_id, number, customer_id, worker_id, status, total, note, sold_at)
SELECT row_id('sales', g), row_id('businesses', b), n,
       CASE WHEN n % 5 > 0 THEN row_id('customers', (b - 1) * size('customers') + 1 + pick('sale.customer', g, size('customers')::integer)) END,
       row_id('workers', (b - 1) * size('workers') + 1 + pick('sale.worker', g, size('workers')::integer)),
       (CASE WHEN n % 11 = 0 THEN 'open' WHEN n % 37 = 0 THEN 'returned' ELSE 'paid' END)::sale_status,
       50 + pick('sale.total', g, 2000000) / 100.0,
       CASE n % 13 WHEN 0 THEN '=HYPERLINK("x")' WHEN 1 THEN '' WHEN 2 THEN 'ফেরত দেবে' END, ago('sale.at', g, 400)
FROM (SELECT b, n, (b - 1) * size('sales') + n AS g
      FROM generate_series(1, size('businesses')) b, generate_series(1, size('sales')) n) x;

INSERT INTO sale_items (sale_id, product_id, quantity, unit_price)
SELECT row_id('sales', g), row_id('products', (b - 1) * size('products') + 1 + pick('item.product', 3 * g + i, size('products')::integer)),
       1 + pick('item.quantity', 3 * g + i, 5), 20 + pick('item.price', 3 * g + i, 500000) / 100.0
FROM (SELECT b, n, (b - 1) * size('sales') + n AS g
      FROM generate_series(1, size('businesses')) b, generate_series(1, size('sales')) n) x,
     generate_series(1, 2 + (n % 2)) i;

INSERT INTO payments (id, sale_id, amount, method, reference, paid_at)
SELECT row_id('payments', g), row_id('sales', g), 50 + pick('sale.total', g, 2000000) / 100.0,
       one(ARRAY['cash', 'bkash', 'card', 'bank_transfer'], 'pay.method', g),
       CASE WHEN n % 3 = 0 THEN 'TXN' || digits('pay.ref', g, 6) END, ago('sale.at', g, 400)
FROM (SELECT b, n, (b - 1) * size('sales') + n AS g
      FROM generate_series(1, size('businesses')) b, generate_series(1, size('sales')) n) x
WHERE n % 11 > 0;

INSERT INTO schema_migrations (version, applied_at)
SELECT '2025' || to_char(n, 'FM00') || '01_step', anchor() - make_interval(days => 400 - n) FROM generate_series(1, 6) n;
