-- Competitors, their profiles, the organizations they own, the pages that are written about them, and what they paid.

CREATE FUNCTION demo.person(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN one(ARRAY[
    'Marcus', 'Danielle', 'Tyrone', 'José', 'Brianna', 'Kyle', 'Renée', 'Andre', 'Mikhail', 'Latoya', 'Björn', 'Chloe',
    'Rashid', 'Samantha', 'Diego', 'Wei', 'Jasmine', 'Cody', 'Priya', 'Hank "Boomer"'
], 'person', n) || ' ' || one(ARRAY[
    'Hill', 'Nguyen', 'O''Connor', 'Garcia', 'Müller', 'Washington', 'Kowalski', 'Jackson', 'Rahman', 'Peterson',
    'Silva', 'Brooks', 'Tanaka', 'Reyes', 'Larsson', 'Young'
], 'person#', n);

INSERT INTO users (
    id, email, name, password_hash, reset_token, membership_type, status, phone, location, email_verified, login_count,
    last_login_at, created_at, updated_at
)
SELECT row_id('users', n), 'member' || n || '@example.com', person(n), secret('users.password', n, 24),
       CASE WHEN n % 29 = 3 THEN secret('users.reset', n, 16) END,
       (CASE WHEN n = 1 THEN 'admin' WHEN n % 20 = 7 THEN 'organization' WHEN n % 15 = 4 THEN 'retailer'
             WHEN n % 25 = 9 THEN 'manufacturer' WHEN n % 6 = 2 THEN 'pro_competitor'
             ELSE 'competitor' END)::membership,
       (CASE WHEN n % 40 = 13 THEN 'suspended' WHEN n % 17 = 5 THEN 'pending' ELSE 'active' END)::account_status,
       CASE WHEN n % 3 > 0 THEN '+1 (' || (205 + pick('users.area', n, 700)) || ') 555-01' || digits('users.phone', n, 2) END,
       one(ARRAY['Dallas, TX', 'Orlando, FL', 'Los Angeles, CA', 'Atlanta, GA', 'São Paulo, BR', 'Köln, DE', 'Dhaka, BD'],
           'users.location', n),
       n % 17 <> 5, pick('users.logins', n, 400), CASE WHEN n % 17 <> 5 THEN ago('users.login', n, 20) END,
       ago('users.created', n, 900) - interval '20 days', ago('users.updated', n, 20)
FROM generate_series(1, size('users')) n;

-- Every member but those who never came back after they signed up.
INSERT INTO profiles (
    id, user_id, display_name, bio, vehicle, competition_class, best_spl_db, points, achievements, audio_system,
    is_public, created_at
)
SELECT row_id('profiles', n), row_id('users', n), person(n),
       CASE n % 11 WHEN 1 THEN '=SUM(A1:A9) of watts' WHEN 2 THEN E'Two 18s.\nOne dream, "louder".'
           WHEN 3 THEN 'বেস ছাড়া জীবন নাই 🔊' WHEN 4 THEN '' WHEN 5 THEN 'SPL since ''98; ask me anything, anytime' END,
       one(ARRAY['1996 Chevrolet Tahoe', '2019 Toyota Hilux', '2004 VW Golf', '1987 Ford Astro "Van"', 'Honda Civic EK9'],
           'profiles.vehicle', n),
       one(ARRAY['Trunk 1', 'Trunk 2', 'No Wall 3', 'Super Street', 'Outlaw', 'SQ Amateur'], 'profiles.class', n),
       CASE WHEN n % 4 > 0 THEN 128 + pick('profiles.spl', n, 350) / 10.0 END, pick('profiles.points', n, 900),
       CASE n % 5 WHEN 0 THEN ARRAY['State champion 2025'] WHEN 1 THEN ARRAY['150 dB club', 'Best install, "daily"']
           ELSE '{}' END,
       CASE WHEN n % 7 = 6 THEN NULL ELSE jsonb_build_object(
           'subwoofers', 1 + n % 4, 'amplifier', one(ARRAY['Taramps 8K', 'JL 1000/1', 'Sundown SCV-6000'], 'amp', n),
           'watts', 800 + 100 * pick('profiles.watts', n, 90), 'wall', n % 3 = 0) END,
       n % 9 > 0, ago('users.created', n, 900) - interval '19 days'
FROM generate_series(1, size('users')) n
WHERE n % 17 <> 5;

INSERT INTO organizations (
    id, name, organization_type, description, website, contact_email, owner_id, is_verified, created_at
)
SELECT row_id('organizations', n),
       one(ARRAY['Bass Nation', 'Decibel Drag', 'Loud & Proud', 'Iron Cone', 'Golden Ear', 'Midnight Meter'], 'org', n)
           || ' ' || one(ARRAY['Audio', 'Club', 'League', 'Customs', 'Acoustics'], 'org#', n) || ' ' || n,
       (ARRAY['manufacturer', 'retailer', 'club', 'sanctioning_body'])[1 + n % 4]::organization_type,
       CASE WHEN n % 5 > 0 THEN 'Founded by competitors, for competitors; open on Saturdays.' END,
       CASE WHEN n % 3 > 0 THEN 'https://org' || n || '.example.com' END,
       'contact' || n || '@org' || n || '.example.com',
       CASE WHEN n % 10 > 0 THEN row_id('users', 1 + pick('org.owner', n, size('users')::integer)) END,
       n % 3 = 0, ago('org.created', n, 1200)
FROM generate_series(1, size('organizations')) n;

INSERT INTO cms_pages (
    title, slug, content, meta, status, author_id, view_count, published_at, created_at
)
SELECT one(ARRAY['Rules of the season', 'Results', 'How to measure', 'Event guide', 'Sponsors'], 'page', n) || ' ' || n,
       'page-' || n,
       E'<h1>Page ' || n || E'</h1>\n<p>Bring ear protection, "always". Doors open at 9 &amp; close at 18.</p>',
       jsonb_build_object('description', 'Page ' || n, 'keywords', jsonb_build_array('spl', 'car audio'), 'og', NULL),
       (CASE WHEN n % 8 = 7 THEN 'draft' WHEN n % 13 = 12 THEN 'archived' ELSE 'published' END)::page_status,
       CASE WHEN n % 6 > 0 THEN row_id('users', 1) END, pick('page.views', n, 20000),
       CASE WHEN n % 8 <> 7 THEN ago('page.published', n, 300) END, ago('page.published', n, 300) - interval '2 days'
FROM generate_series(1, size('cms_pages')) n;

INSERT INTO payments (
    id, user_id, organization_id, amount, currency, status, purpose, provider_reference, metadata, paid_at, created_at
)
SELECT row_id('payments', n), row_id('users', 1 + pick('pay.user', n, size('users')::integer)),
       CASE WHEN n % 4 = 0 THEN row_id('organizations', 1 + pick('pay.org', n, size('organizations')::integer)) END,
       (ARRAY[25.00, 49.00, 99.99, 150.00, 500.00])[1 + pick('pay.amount', n, 5)],
       CASE WHEN n % 12 = 0 THEN 'EUR' ELSE 'USD' END, p.status,
       one(ARRAY['membership', 'event entry', 'advertisement', 'merchandise'], 'pay.purpose', n),
       CASE WHEN p.status <> 'pending' THEN 'pi_' || left(md5('payment' || n), 24) END,
       CASE WHEN n % 3 > 0 THEN jsonb_build_object('event', 'EV-' || n % 40, 'fee', round(n % 90 / 10.0, 2)) END,
       CASE WHEN p.status IN ('succeeded', 'refunded') THEN ago('pay.at', n, 700) END,
       ago('pay.at', n, 700) - interval '3 minutes'
FROM generate_series(1, size('payments')) n
CROSS JOIN LATERAL (SELECT (CASE WHEN n % 31 = 0 THEN 'refunded' WHEN n % 19 = 0 THEN 'failed'
    WHEN n % 23 = 0 THEN 'pending' ELSE 'succeeded' END)::payment_status AS status) p;

INSERT INTO schema_migrations (version, applied_at)
SELECT '2024' || to_char(n, 'FM00') || '01_step', anchor() - make_interval(days => 400 - n) FROM generate_series(1, 9) n;
