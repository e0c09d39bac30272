-- Keys, checks, foreign keys and indexes, added when the rows are in. Each foreign key has its index, as a production
-- system would.

-- Primary keys, what is unique, and what must hold.
ALTER TABLE areas ADD PRIMARY KEY (id), ADD UNIQUE (name);
ALTER TABLE packages ADD PRIMARY KEY (id), ADD UNIQUE (name);
ALTER TABLE routers ADD PRIMARY KEY (id), ADD UNIQUE (name);
ALTER TABLE employees ADD PRIMARY KEY (id), ADD UNIQUE (employee_code);
ALTER TABLE leave_requests ADD PRIMARY KEY (id), ADD CHECK (end_date >= start_date);
ALTER TABLE payroll ADD PRIMARY KEY (id), ADD UNIQUE (employee_id, salary_month);
ALTER TABLE resellers ADD PRIMARY KEY (id), ADD UNIQUE (code);
ALTER TABLE customers ADD PRIMARY KEY (id), ADD UNIQUE (user_id), ADD CHECK (total_due >= 0);
ALTER TABLE reseller_customers ADD PRIMARY KEY (reseller_id, customer_id);
ALTER TABLE mikrotik_users ADD PRIMARY KEY (id), ADD UNIQUE (username);
ALTER TABLE invoices ADD PRIMARY KEY (id), ADD UNIQUE (invoice_number);
ALTER TABLE invoice_items ADD PRIMARY KEY (id), ADD UNIQUE (invoice_id, line_no);
ALTER TABLE billing_records ADD PRIMARY KEY (id);
ALTER TABLE payments ADD PRIMARY KEY (id), ADD CHECK (amount > 0);
ALTER TABLE reseller_commissions ADD PRIMARY KEY (id), ADD UNIQUE (payment_id);
ALTER TABLE transactions ADD PRIMARY KEY (id);
ALTER TABLE support_tickets ADD PRIMARY KEY (id), ADD UNIQUE (ticket_number);
ALTER TABLE ticket_comments ADD PRIMARY KEY (id);
ALTER TABLE service_tasks ADD PRIMARY KEY (id);
ALTER TABLE inventory_items ADD PRIMARY KEY (id), ADD UNIQUE (serial_number);
ALTER TABLE stock_movements ADD PRIMARY KEY (id);
ALTER TABLE metered_usage_logs ADD PRIMARY KEY (id), ADD CHECK (end_meter >= start_meter);
ALTER TABLE reminder_logs ADD PRIMARY KEY (id);
ALTER TABLE call_records ADD PRIMARY KEY (id);
ALTER TABLE schema_migrations ADD PRIMARY KEY (version);
ALTER TABLE sessions ADD PRIMARY KEY (id), ADD UNIQUE (token);
ALTER TABLE api_keys ADD PRIMARY KEY (id), ADD UNIQUE (name);

-- Foreign keys.
ALTER TABLE areas
    ADD FOREIGN KEY (parent_id) REFERENCES areas;
ALTER TABLE routers
    ADD FOREIGN KEY (area_id) REFERENCES areas;
ALTER TABLE leave_requests
    ADD FOREIGN KEY (employee_id) REFERENCES employees;
ALTER TABLE payroll
    ADD FOREIGN KEY (employee_id) REFERENCES employees;
ALTER TABLE resellers
    ADD FOREIGN KEY (area_id) REFERENCES areas;
ALTER TABLE customers
    ADD FOREIGN KEY (area_id) REFERENCES areas,
    ADD FOREIGN KEY (package_id) REFERENCES packages,
    ADD FOREIGN KEY (router_id) REFERENCES routers;
ALTER TABLE reseller_customers
    ADD FOREIGN KEY (reseller_id) REFERENCES resellers,
    ADD FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE mikrotik_users
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (router_id) REFERENCES routers;
ALTER TABLE invoices
    ADD FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE invoice_items
    ADD FOREIGN KEY (invoice_id) REFERENCES invoices;
ALTER TABLE billing_records
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (package_id) REFERENCES packages,
    ADD FOREIGN KEY (invoice_id) REFERENCES invoices;
ALTER TABLE payments
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (invoice_id) REFERENCES invoices,
    ADD FOREIGN KEY (received_by) REFERENCES employees;
ALTER TABLE reseller_commissions
    ADD FOREIGN KEY (reseller_id) REFERENCES resellers,
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (payment_id) REFERENCES payments;
ALTER TABLE transactions
    ADD FOREIGN KEY (payment_id) REFERENCES payments;
ALTER TABLE support_tickets
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (assigned_to) REFERENCES employees;
ALTER TABLE ticket_comments
    ADD FOREIGN KEY (ticket_id) REFERENCES support_tickets,
    ADD FOREIGN KEY (employee_id) REFERENCES employees;
ALTER TABLE service_tasks
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (ticket_id) REFERENCES support_tickets,
    ADD FOREIGN KEY (assigned_to) REFERENCES employees;
ALTER TABLE inventory_items
    ADD FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE stock_movements
    ADD FOREIGN KEY (item_id) REFERENCES inventory_items,
    ADD FOREIGN KEY (moved_by) REFERENCES employees;
ALTER TABLE metered_usage_logs
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (used_by) REFERENCES employees;
ALTER TABLE reminder_logs
    ADD FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE call_records
    ADD FOREIGN KEY (customer_id) REFERENCES customers,
    ADD FOREIGN KEY (employee_id) REFERENCES employees;
ALTER TABLE sessions
    ADD FOREIGN KEY (employee_id) REFERENCES employees;

-- Indexes: every foreign key that no unique key already starts with, and what the application lists by.
CREATE INDEX ON areas (parent_id);
CREATE INDEX ON routers (area_id);
CREATE INDEX ON leave_requests (employee_id);
CREATE INDEX ON resellers (area_id);
CREATE INDEX ON customers (area_id);
CREATE INDEX ON customers (package_id);
CREATE INDEX ON customers (router_id);
CREATE INDEX ON reseller_customers (customer_id);
CREATE INDEX ON mikrotik_users (customer_id);
CREATE INDEX ON mikrotik_users (router_id);
CREATE INDEX ON invoices (customer_id);
CREATE INDEX ON billing_records (customer_id);
CREATE INDEX ON billing_records (package_id);
CREATE INDEX ON billing_records (invoice_id);
CREATE INDEX ON payments (customer_id);
CREATE INDEX ON payments (invoice_id);
CREATE INDEX ON payments (received_by);
CREATE INDEX ON reseller_commissions (reseller_id);
CREATE INDEX ON reseller_commissions (customer_id);
CREATE INDEX ON transactions (payment_id);
CREATE INDEX ON support_tickets (customer_id);
CREATE INDEX ON support_tickets (assigned_to);
CREATE INDEX ON ticket_comments (ticket_id);
CREATE INDEX ON ticket_comments (employee_id);
CREATE INDEX ON service_tasks (customer_id);
CREATE INDEX ON service_tasks (ticket_id);
CREATE INDEX ON service_tasks (assigned_to);
CREATE INDEX ON inventory_items (customer_id);
CREATE INDEX ON stock_movements (item_id);
CREATE INDEX ON stock_movements (moved_by);
CREATE INDEX ON metered_usage_logs (customer_id);
CREATE INDEX ON metered_usage_logs (used_by);
CREATE INDEX ON reminder_logs (customer_id);
CREATE INDEX ON call_records (customer_id);
CREATE INDEX ON call_records (employee_id);
CREATE INDEX ON sessions (employee_id);
CREATE INDEX ON customers (status);
CREATE INDEX ON customers (phone);
CREATE INDEX ON payments (payment_date);
CREATE INDEX ON invoices (status, due_date);
CREATE INDEX ON transactions (transaction_date);
CREATE INDEX ON support_tickets (status);
CREATE INDEX ON reminder_logs (sent_at);
CREATE INDEX ON call_records (call_date);
