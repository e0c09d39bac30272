-- The ISP's own tables as its application made them: types and columns. Keys, indexes and foreign keys are in
-- constraints.sql,
-- because building them after the rows are in is several times faster.

CREATE TYPE customer_status AS ENUM ('pending', 'active', 'suspended', 'disconnected');
CREATE TYPE connection_type AS ENUM ('pppoe', 'static', 'hotspot');
CREATE TYPE billing_cycle AS ENUM ('monthly', 'quarterly', 'half_yearly', 'yearly');
CREATE TYPE payment_method AS ENUM ('cash', 'bkash', 'nagad', 'rocket', 'bank', 'card');
CREATE TYPE invoice_status AS ENUM ('unpaid', 'partial', 'paid', 'overdue', 'cancelled');
CREATE TYPE transaction_type AS ENUM ('income', 'expense');
CREATE TYPE ticket_priority AS ENUM ('low', 'medium', 'high', 'urgent');
CREATE TYPE ticket_status AS ENUM ('open', 'in_progress', 'resolved', 'closed');
CREATE TYPE task_type AS ENUM ('installation', 'repair', 'relocation', 'collection', 'disconnection');
CREATE TYPE task_status AS ENUM ('pending', 'in_progress', 'completed', 'cancelled');
CREATE TYPE inventory_status AS ENUM ('in_stock', 'assigned', 'in_repair', 'damaged', 'lost');
CREATE TYPE employee_status AS ENUM ('active', 'on_leave', 'resigned');
CREATE TYPE leave_type AS ENUM ('casual', 'sick', 'annual', 'unpaid');
CREATE TYPE approval_status AS ENUM ('pending', 'approved', 'rejected');
CREATE TYPE payout_status AS ENUM ('pending', 'paid');
CREATE TYPE reminder_channel AS ENUM ('sms', 'whatsapp', 'email');
CREATE TYPE pppoe_status AS ENUM ('enabled', 'disabled', 'expired');

CREATE TABLE areas (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    district text NOT NULL,
    parent_id uuid,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE packages (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    speed text NOT NULL,
    download_mbps integer NOT NULL,
    upload_mbps integer NOT NULL,
    price numeric(12,2) NOT NULL,
    validity_days smallint DEFAULT 30 NOT NULL,
    description text,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE routers (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    ip_address inet NOT NULL,
    api_port integer DEFAULT 8728 NOT NULL,
    api_username text NOT NULL,
    api_password text NOT NULL,
    api_secret text,
    mode text DEFAULT 'pppoe' NOT NULL,
    model text,
    area_id uuid,
    is_active boolean DEFAULT true NOT NULL,
    last_seen_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE employees (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    employee_code text NOT NULL,
    name text NOT NULL,
    phone text NOT NULL,
    email text,
    department text NOT NULL,
    designation text NOT NULL,
    status employee_status DEFAULT 'active' NOT NULL,
    joining_date date NOT NULL,
    skills text[] DEFAULT '{}' NOT NULL,
    nid text NOT NULL,
    date_of_birth date NOT NULL,
    basic_salary numeric(12,2) NOT NULL,
    bank_name text,
    bank_account text,
    password_hash text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE leave_requests (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    employee_id uuid NOT NULL,
    leave_type leave_type NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL,
    reason text,
    status approval_status DEFAULT 'pending' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE payroll (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    employee_id uuid NOT NULL,
    salary_month date NOT NULL,
    basic_salary numeric(12,2) NOT NULL,
    allowances numeric(12,2) DEFAULT 0 NOT NULL,
    deductions numeric(12,2) DEFAULT 0 NOT NULL,
    net_salary numeric(12,2) NOT NULL,
    status payout_status DEFAULT 'pending' NOT NULL,
    paid_on date,
    bank_name text,
    bank_account text,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE resellers (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    phone text NOT NULL,
    area_id uuid,
    commission_rate numeric(5,2) NOT NULL,
    status text DEFAULT 'active' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE customers (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id text NOT NULL,
    name text NOT NULL,
    phone text NOT NULL,
    alt_phone text,
    email text,
    address text,
    area_id uuid,
    package_id uuid,
    router_id uuid,
    status customer_status DEFAULT 'pending' NOT NULL,
    connection_type connection_type DEFAULT 'pppoe' NOT NULL,
    billing_cycle billing_cycle DEFAULT 'monthly' NOT NULL,
    expiry_date date,
    total_due numeric(12,2) DEFAULT 0 NOT NULL,
    latitude double precision,
    longitude double precision,
    tags text[] DEFAULT '{}' NOT NULL,
    metadata jsonb,
    notes text,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE reseller_customers (
    reseller_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    assigned_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE reseller_commissions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    reseller_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    amount numeric(12,2) NOT NULL,
    status payout_status DEFAULT 'pending' NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE mikrotik_users (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    customer_id uuid,
    router_id uuid NOT NULL,
    username text NOT NULL,
    password text NOT NULL,
    profile text NOT NULL,
    status pppoe_status DEFAULT 'enabled' NOT NULL,
    ip_address inet,
    caller_id macaddr,
    bytes_in bigint DEFAULT 0 NOT NULL,
    bytes_out bigint DEFAULT 0 NOT NULL,
    last_login_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE invoices (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    invoice_number text NOT NULL,
    customer_id uuid NOT NULL,
    total numeric(12,2) NOT NULL,
    paid_amount numeric(12,2) DEFAULT 0 NOT NULL,
    status invoice_status DEFAULT 'unpaid' NOT NULL,
    issue_date date NOT NULL,
    due_date date NOT NULL,
    notes text,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE invoice_items (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    invoice_id uuid NOT NULL,
    line_no smallint NOT NULL,
    description text NOT NULL,
    quantity numeric(12,2) DEFAULT 1 NOT NULL,
    unit_price numeric(12,2) NOT NULL,
    total numeric(12,2) NOT NULL
);

CREATE TABLE billing_records (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    customer_id uuid NOT NULL,
    package_id uuid NOT NULL,
    invoice_id uuid,
    amount numeric(12,2) NOT NULL,
    status invoice_status NOT NULL,
    billing_date date NOT NULL,
    due_date date NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE payments (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    customer_id uuid NOT NULL,
    invoice_id uuid,
    amount numeric(12,2) NOT NULL,
    method payment_method NOT NULL,
    reference text,
    received_by uuid,
    note text,
    payment_date timestamptz NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
);

CREATE TABLE transactions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    type transaction_type NOT NULL,
    amount numeric(12,2) NOT NULL,
    payment_method payment_method,
    category text NOT NULL,
    payment_id uuid,
    transaction_date date NOT NULL,
    description text,
    details jsonb,
    created_at timestamptz DEFAULT now() NOT NULL
);
