-- What may leave the database of the four tables that hold secrets: no passwords, keys, national ids or bank accounts.

CREATE VIEW employees_safe AS
SELECT id, employee_code, name, phone, email, department, designation, status, joining_date, skills, created_at
FROM employees;

CREATE VIEW payroll_safe AS
SELECT id, employee_id, salary_month, basic_salary, allowances, deductions, net_salary, status, paid_on, created_at
FROM payroll;

CREATE VIEW mikrotik_users_safe AS
SELECT id, customer_id, router_id, username, profile, status, ip_address, caller_id, bytes_in, bytes_out, last_login_at,
       created_at
FROM mikrotik_users;

CREATE VIEW routers_safe AS
SELECT id, name, ip_address, mode, model, area_id, is_active, last_seen_at, created_at
FROM routers;
