"""Columns of made-up applications in the manner of real ones, each labelled by hand: a `*` is a secret.

Two sets: `TUNED` was looked at when the rules were made; `HELD_OUT` was written afterwards, and no rule was changed for
it but the plural of a word (`cookies`). What counts as a secret: whoever reads the value can act as somebody
(passwords, tokens, keys, codes, sessions, cookies, connection strings, webhooks), can pay or be taken for somebody
(cards, bank accounts, identity numbers), or needs only time for one of these (hashes and salts of them, their encrypted
forms).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TUNED = """
users: id bigint, email citext, username varchar, password_hash* text, password_salt* bytea, pass_crypt* varchar
users: encrypted_password* varchar, reset_password_token* varchar, reset_password_sent_at timestamptz, pin* varchar
users: remember_created_at timestamp, remember_token* varchar, sign_in_count int4, otp_secret* varchar, locale varchar
users: otp_required_for_login bool, otp_backup_codes* text[], consumed_timestep int4, unlock_token* varchar
users: locked_at timestamp, password_changed_at timestamptz, must_change_password bool, password_expires_in int4
users: password_hint* text, last_password_change date
users: failed_attempts int4, api_key* varchar, authentication_token* text
users: auth_provider varchar, auth_uid varchar, two_factor_enabled bool, recovery_codes* jsonb, display_name text
users: avatar_key varchar, ssh_public_key text, public_key text, private_key* text, ssn* varchar, iban* varchar
users: token_version int4, password_policy varchar
users: security_question text, security_answer* text, confirmation_token* text
api_keys: id uuid, name text, key* text, value* text
api_keys: prefix varchar, scopes text[], last_used_at timestamptz, hash* text
api_keys: hashed_key* varchar, expires_at timestamptz, revoked bool, owner_id bigint, description text
settings: key varchar, value text, created_at timestamp, hmac_key* text, webhook_url* text, dsn* text, theme varchar
settings: database_url* text, redis_url* text, smtp_password* text, smtp_user text, smtp_host text, site_key varchar
settings: stripe_publishable_key varchar, stripe_secret_key* varchar, recaptcha_site_key varchar, cookie_policy text
settings: token_lifetime interval, session_timeout int4
settings: password_min_length int4, support_url text, cookie_domain text
sessions: id* varchar, session_id* varchar, data* text, user_id bigint, ip inet, user_agent text, expires timestamptz
sessions: cookie* text, csrf_token* varchar, last_seen timestamptz, refresh_token* text, device_name text
oauth_applications: uid varchar, secret* varchar, redirect_uri text, scopes varchar, confidential bool, name varchar
oauth_access_grants: token* varchar, expires_in int4
oauth_access_grants: redirect_uri text, code_challenge varchar, code_challenge_method text
oauth_access_tokens: token* varchar, refresh_token* varchar
oauth_access_tokens: token_type varchar, scopes varchar, resource_owner_id int8
oauth_codes: authorization_code* text, code_verifier* text, client_id text, nonce text, state text, subject varchar
webhooks: url* text, secret* text, events text[]
webhooks: active bool, last_status int4, signing_key* text, content_type varchar
deliveries: webhook_id bigint, request_headers jsonb, response_body text, response_code int4, idempotency_key varchar
payments: id bigint, amount numeric, currency char(3)
payments: card_number* varchar, cvv* varchar, card_brand text, last4 char(4)
payments: card_holder text, iban* text, bic varchar
payments: gateway_token* varchar, gateway_response text, receipt_number varchar
bank_accounts: holder_name text, account_number* varchar, routing_number varchar
bank_accounts: bank_name text, currency text, iban* text
accounts: account_number varchar, name text, balance numeric, code varchar, parent_id int4, kind varchar
files: path text, sha256_hash varchar, content_hash varchar
files: etag text, storage_key text, file_size int8, checksum text
commits: commit_hash char(40), tree_hash char(40), author_name text
commits: message text, signature text, parent_hash char(40)
ci_variables: key varchar, value* text, masked bool
ci_variables: encrypted_value* text, encrypted_value_iv* text, environment varchar
messages: token_count int4, prompt_tokens int4, completion_tokens int4, body text, subject text, next_page_token text
models: max_tokens int4, tokens_used int8, stop_token text, temperature float8, name text, context_length int4
events: session_id uuid, name text, properties jsonb
events: country_code char(2), error_code varchar, occurred_at timestamptz
devices: push_token* text, device_token* text, serial_number text, psk* text, mac_address macaddr, firmware varchar
routers: hostname text, snmp_community text, admin_password* text, wifi_psk* text, ssh_port int4, location text
employees: social_security_number* varchar, national_id varchar, pin_code varchar
employees: badge text, salary numeric, bank text
addresses: pin_code varchar, zip_code varchar, country_code char(2), street text, city text, house_number varchar
email_verifications: code* varchar, verification_code* varchar, email text, expires_at timestamptz, attempts int4
invitations: token* uuid, code* varchar, email text, accepted_at timestamptz, invited_by bigint, role varchar
secret_santa_groups: name text, secret_santa bigint, budget numeric, draw_date date, secret_santa_name text
passes: boarding_pass text, season_pass text, gate varchar, seat varchar, visitor_pass text, name text
wifi_networks: ssid text, passphrase* text, wifi_pass* text, channel int4, security varchar, band varchar
certificates: certificate text, private_key_pem* text, key* text, fingerprint text, issuer text, not_after timestamptz
integrations: credentials* jsonb, access_token* text, api_secret* text, config jsonb, provider varchar, enabled bool
integrations: slack_webhook* text, connection_string* text, token_url text, authorization_url text, client_id text
mfa_devices: totp_seed* text, credential_id bytea, secret* bytea
mfa_devices: name text, sign_count int8, credential_public_key bytea
foods: name text, salt_content numeric, sugar_content numeric, salt float8, calories int4, ingredients text
crypto_assets: token_symbol varchar, token_address varchar, contract text, decimals int4, wallet_seed_phrase* text
boards: pinned bool, pin_position int4, title text, slug varchar, map_pin text, color varchar, position int4
partitions: partition_key text, sort_key text, primary_key text, foreign_key text, cache_key text, object_key text
"""
HELD_OUT = """
members: member_no varchar, full_name text, login varchar, passwd* varchar, pwd_changed date, secret_word* text
members: passwort* varchar, kennwort* text, email_confirm_token* char(40)
members: phone varchar, newsletter bool, referral_code text
members: mfa_recovery_codes* text[], magic_link_token* text, sso_subject text, avatar_url text, last_login_ip inet
members: credit_card* text, tax_number varchar, emergency_pin* varchar, loyalty_card_id int8, date_of_birth date
customers: company_name text, vat_id text, iban* varchar, bic text, customer_number varchar, portal_password* text
customers: portal_password_set_at timestamptz, has_password bool, notes text, price_list_id int4, discount numeric
licenses: license_key* text, seats int4, valid_until date
licenses: product_code varchar, activation_code* text, customer_id int8
merchant_configs: merchant_id text, merchant_key* text, sandbox bool
merchant_configs: callback_url text, shared_secret* text, currency text
merchant_configs: publishable_key text, encryption_key* bytea, private_certificate* text, webhook_secret* text
sms_logs: recipient text, body text, otp_code* varchar
sms_logs: provider varchar, status varchar, sent_at timestamptz, cost numeric
login_attempts: ip inet, username text, success bool
login_attempts: reason text, user_agent text, created_at timestamptz, country text
login_codes: login_code* varchar, user_id int8, used bool, device_fingerprint text, expires_at timestamptz
password_resets: email text, token_digest* varchar, requested_at timestamptz, ip inet, used_at timestamptz
password_history: user_id int8, old_password* text, changed_on date, changed_by int8, password_strength int4
service_accounts: name text, client_key* text, jwt_secret* text
service_accounts: access_key* varchar, permissions jsonb, region varchar
service_accounts: keytab* bytea, kerberos_principal text, rotation_policy text, secret_name text, secret_version int4
service_accounts: bearer_token* text, token_expires timestamptz, token_issuer text, basic_auth* text, base_url text
vault_secrets: path text, data* jsonb, payload* bytea, version int4, deleted bool, created_by text, metadata jsonb
env_variables: name text, value* text, scope varchar, protected bool, updated_at timestamptz, project_id int8
mailboxes: address text, imap_password* text, imap_host text, imap_port int4, quota_bytes int8, dkim_private_key* text
mailboxes: dkim_public_key text, dkim_selector text, forwarding_address text, signature text, auth_data* text
vpn_peers: public_key text, preshared_key* text, wireguard_private_key* text
vpn_peers: endpoint text, allowed_ips cidr[], name text
subscriptions: auth* text, p256dh text, endpoint text
subscriptions: plan_code varchar, renew_on date, coupon_code text, user_id int8
chat_channels: discord_webhook* text, mattermost_hook_url* text, topic text
chat_channels: channel_key text, archived bool, kind text
http_requests: cookies* text, authorization* text, referer text, method varchar, status_code int4, duration_ms int4
http_requests: query_string text, request_path text, auth_header* text, trace_id uuid, session_key* varchar, host text
job_queues: job_class text, payload jsonb, unique_key text
job_queues: lock_key int8, retries int4, dedup_key text, queue_name text
translations: translation_key text, locale varchar, value text, context text, approved bool, source_text text
feature_flags: flag_key text, enabled bool, percentage int4, rule jsonb, owner text, description text, variant text
documents: share_token* text, storage_path text, file_hash text, thumbnail_key text, mime_type varchar, pages int4
documents: encrypted_body* bytea, content_sha varchar, signed_by text, signature_image bytea, access_code* text
articles: title text, slug text, token_estimate int4, keywords text[], subject_code varchar, abstract text, doi text
llm_calls: prompt text, total_tokens int4, input_tokens int8, cost_usd numeric, model_key varchar, api_key_id int8
ledgers: hash_chain text, previous_hash char(64), block_hash char(64), entry_no int8, posted_at timestamptz, memo text
nft_sales: token_id numeric, token_contract text, tx_hash text, buyer text, price numeric, token_name text, chain text
patients: mrn varchar, ssn* text, insurance_number varchar, blood_type varchar, allergies text, next_of_kin text
patients: social_insurance text, national_insurance_number* text, pharmacy_pin* text, consent_at timestamptz
payout_accounts: account_no* varchar, beneficiary_name text, sort_code varchar, swift_code varchar, verified bool
cards: pan* text, cvc* varchar, expiry_month int4, expiry_year int4, brand text, cardholder_name text, token* text
cards: card_pin_hash* text, issued_at timestamptz, status varchar, color varchar, design_token text, rfid_serial text
locations: map_pin text, pin_color varchar, gate_code text, latitude float8, longitude float8, place_key text
visits: session_count int4, session_started timestamptz, landing_page text
visits: utm_source text, visitor_pass text, seconds int4
cookies_consents: cookie_consent text, cookie_banner_version text
cookies_consents: given_at timestamptz, visitor_id uuid, categories text[]
theme_settings: design_tokens jsonb, font text, primary_color text
theme_settings: secondary_color text, dark_mode bool, logo_url text
secretaries: secretary_name text, desk varchar, phone_extension varchar
secretaries: hashtag text, passport_no varchar, nationality text
backups: backup_path text, encryption_mode text, key_id text
backups: size_bytes int8, password_protected bool, checksum varchar
database_connections: host text, port int4, db_password* text
database_connections: db_url* text, ssl_key* text, ssl_mode text, pool_size int4
database_connections: conn_str* text, ca_certificate text, username text
database_connections: default_schema text, read_only bool, label text
tenants: subdomain text, signing_secret* text, api_token_hash* text
tenants: encryption_salt* bytea, plan text, trial_ends date
tenants: ldap_bind_password* text, ldap_bind_dn text, saml_certificate text, hmac_secret* text, country_code char(2)
iot_devices: provisioning_key* text, shared_access_key* text, sas_token* text
iot_devices: device_key* text, twin jsonb, fw_version text
game_players: nickname text, session_ticket* text, score int8
game_players: secret_level_unlocked bool, save_data jsonb, skin_code text
tickets: ticket_no varchar, barcode text, qr_token* text
tickets: seat text, scanned_at timestamptz, price numeric, category text
exams: answer_key text, pass_mark int4, passed bool, pass_rate numeric, question_code varchar, secret_ballot bool
museums: ticket_pass text, keyholder text, alarm_code* text, opening_hours text, key_number varchar, floor_plan text
"""


@dataclass(frozen=True)
class Labelled:
    """A column, and whether it is a secret."""

    table: str
    column: str
    pg_type: str
    secret: bool


def labelled(lines: str) -> Iterator[Labelled]:
    """The columns of a set."""
    for line in filter(None, lines.splitlines()):
        table, _, columns = line.partition(": ")
        for written in columns.split(", "):
            name, pg_type = written.split(" ", 1)
            yield Labelled(table, name.removesuffix("*"), pg_type, name.endswith("*"))
