-- The role that backups read with: it can read what the catalog exports, and nothing else, and can change nothing.
-- Roles belong to the whole server: the lock lets one creation finish with them before another one looks.

LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'isp_backup') THEN
        CREATE ROLE isp_backup NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    END IF;
END
$$;

ALTER ROLE isp_backup SET default_transaction_read_only = on;
ALTER ROLE isp_backup SET statement_timeout = '1h';
ALTER ROLE isp_backup SET lock_timeout = '10s';

GRANT USAGE ON SCHEMA public TO isp_backup;
GRANT SELECT ON
    areas, packages, resellers, reseller_customers, reseller_commissions, customers, invoices, invoice_items,
    billing_records, payments, transactions, support_tickets, ticket_comments, service_tasks, inventory_items,
    stock_movements, metered_usage_logs, leave_requests, reminder_logs, call_records, employees_safe, payroll_safe,
    mikrotik_users_safe, routers_safe
TO isp_backup;
-- Where the numbering of rows stands, so that it goes on there after a restore.
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO isp_backup;
