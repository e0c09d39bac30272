-- Keys, indexes and foreign keys, added when the rows are in; and the role that backups read with.

ALTER TABLE businesses ADD PRIMARY KEY (id);
ALTER TABLE tax_rates ADD PRIMARY KEY (code);
ALTER TABLE schema_migrations ADD PRIMARY KEY (version);
ALTER TABLE products ADD PRIMARY KEY (id), ADD UNIQUE (business_id, sku),
    ADD FOREIGN KEY (business_id) REFERENCES businesses, ADD FOREIGN KEY (tax_code) REFERENCES tax_rates;
ALTER TABLE customers ADD PRIMARY KEY (id), ADD FOREIGN KEY (business_id) REFERENCES businesses;
ALTER TABLE workers ADD PRIMARY KEY (id), ADD FOREIGN KEY (business_id) REFERENCES businesses;
ALTER TABLE sales ADD PRIMARY KEY (id), ADD UNIQUE (business_id, number),
    ADD FOREIGN KEY (business_id) REFERENCES businesses, ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (worker_id) REFERENCES workers;
ALTER TABLE sale_items ADD PRIMARY KEY (id), ADD FOREIGN KEY (sale_id) REFERENCES sales ON DELETE CASCADE,
    ADD FOREIGN KEY (product_id) REFERENCES products, ADD CHECK (quantity > 0);
ALTER TABLE payments ADD PRIMARY KEY (id), ADD FOREIGN KEY (sale_id) REFERENCES sales;
CREATE INDEX ON customers (business_id);
CREATE INDEX ON workers (business_id);
CREATE INDEX ON sales (customer_id);
CREATE INDEX ON sale_items (sale_id);
CREATE INDEX ON sale_items (product_id);
CREATE INDEX ON payments (sale_id);

-- Roles belong to the whole server: the lock lets one creation finish with them before another one looks.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'retail_backup') THEN
        CREATE ROLE retail_backup NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    END IF;
END
$$;

ALTER ROLE retail_backup SET default_transaction_read_only = on;
ALTER ROLE retail_backup SET statement_timeout = '1h';
ALTER ROLE retail_backup SET lock_timeout = '10s';
GRANT USAGE ON SCHEMA public TO retail_backup;
GRANT SELECT ON businesses, products, customers, workers, sales, sale_items, payments, tax_rates TO retail_backup;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO retail_backup;
