-- The ISP's own words: phones, names, remarks. What they are drawn with is in dice.sql.

-- A Bangladeshi mobile number: 01, an operator's digit, eight digits.
CREATE FUNCTION demo.phone(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN '01' || (3 + pick(label, n, 7))::text || digits(label || '#', n, 8);

CREATE FUNCTION demo.mac(label text, n bigint) RETURNS macaddr IMMUTABLE LANGUAGE sql
RETURN ('02' || left(md5(label || n::text), 10))::macaddr;

CREATE FUNCTION demo.bangla(number integer) RETURNS text IMMUTABLE LANGUAGE sql
RETURN translate(number::text, '0123456789', '০১২৩৪৫৬৭৮৯');

CREATE FUNCTION demo.english_name(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN one(ARRAY[
    'Md. Rahim', 'Abdul Karim', 'Nusrat', 'Fatema', 'Tanvir', 'Shakib', 'Farhana', 'Mahmudul', 'Ayesha', 'Imran',
    'Sumaiya', 'Rakib', 'Jahangir', 'Sabrina', 'Arif', 'Tasnim', 'Kamrul', 'Nasrin', 'Rezaul', 'Sharmin', 'Zahid',
    'Mousumi', 'Habibur', 'Rumana', 'Anik', 'Priya', 'Sajid', 'Mim', 'Md. Delwar "Babu"', 'Shirin', 'Fahim', 'Lamia'
], label, n)
    || ' ' || one(ARRAY[
    'Hossain', 'Rahman', 'Islam', 'Akter', 'Begum', 'Ahmed', 'Khan', 'Chowdhury', 'Uddin', 'Sarkar', 'Miah',
    'Sultana', 'Das', 'Roy', 'Talukder', 'Siddique', 'Alam', 'D''Costa', 'Bhuiyan', 'Molla', 'Haque', 'Mondal',
    'Khatun', 'Barua'
], label || '#', n);

CREATE FUNCTION demo.bangla_name(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN one(ARRAY[
    'মোঃ রহিম', 'আব্দুল করিম', 'নুসরাত', 'ফাতেমা', 'তানভীর', 'সাকিব', 'ফারহানা', 'মাহমুদুল', 'আয়েশা', 'ইমরান',
    'সুমাইয়া', 'রাকিব', 'জাহাঙ্গীর', 'সাবরিনা', 'আরিফ', 'তাসনিম', 'কামরুল', 'নাসরিন', 'রেজাউল', 'শারমিন'
], label, n)
    || ' ' || one(ARRAY[
    'হোসেন', 'রহমান', 'ইসলাম', 'আক্তার', 'বেগম', 'আহমেদ', 'খান', 'চৌধুরী', 'উদ্দিন', 'সরকার', 'মিয়া', 'সুলতানা',
    'দাস', 'রায়'
], label || '#', n);

CREATE FUNCTION demo.business_name(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN one(ARRAY[
    'M/s. Karim & Sons, Traders', 'Bismillah Store', '"Net Point" Cyber Café', 'Al-Madina Pharmacy',
    'Green View School, Branch 2', 'Sonali Garments Ltd.', 'নিউ ঢাকা হোটেল এন্ড রেস্টুরেন্ট', 'Popular Diagnostic',
    'O''Neill Consulting', 'ভাই ভাই ইলেকট্রনিক্স'
], label, n);

-- Three in ten write their name in Bangla, one in twelve is a business.
CREATE FUNCTION demo.customer_name(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN CASE
    WHEN n % 12 = 7 THEN business_name('customers.business', n)
    WHEN chance('customers.bangla', n, 30) OR n % 12 = 2 THEN bangla_name('customers.name', n)
    ELSE english_name('customers.name', n)
END;

-- Free text as people really type it, one of each kind in every 97 rows: what CSV files and spreadsheets trip over.
-- Otherwise mostly NULL. Customers begin with the odd ones, so that the smallest demo has each kind; the rest begin
-- anywhere.
CREATE FUNCTION demo.remark(label text, n bigint) RETURNS text IMMUTABLE LANGUAGE sql
RETURN CASE (n + CASE label WHEN 'customers.notes' THEN 0 ELSE pick(label, 0, 97) END) % 97
    WHEN 1 THEN '=HYPERLINK("https://example.com/pay","Pay here")'
    WHEN 2 THEN '+8801712345678 (WhatsApp only)'
    WHEN 3 THEN '-'
    WHEN 4 THEN '@accounts: check before suspending'
    WHEN 5 THEN E'First line\nSecond line, with a comma and "quotes"'
    WHEN 6 THEN ''
    WHEN 7 THEN 'ফোন করার আগে মেসেজ দিন 😊 — VIP'
    WHEN 8 THEN E'Tab\there; semicolon; back\\slash | pipe'
    WHEN 9 THEN E'Pasted from Windows\r\nsecond line'
    WHEN 10 THEN '  spaces around  '
    WHEN 11 THEN 'NULL'
    WHEN 12 THEN E'=1+1\n-2+3'
    WHEN 13 THEN 'বিল মাসের ১০ তারিখের পরে দেন, "ভাই" বললেই হয়'
    WHEN 14 THEN '👨‍👩‍👧‍👦 family plan, 5 devices'
    WHEN 15 THEN '"'
    WHEN 16 THEN E'''single'', "double", `back`'
    WHEN 17 THEN '00880'
    ELSE CASE WHEN chance(label, n, 20) THEN one(ARRAY[
    'Prefers a call after 8 pm', 'Pays by bKash', 'গ্রাহক ঢাকার বাইরে থাকেন', 'Gate closed after 11 pm',
    'New cable needed', 'Ask for Mr. Alam, 3rd floor', 'মাসের শেষে বিল দেন', 'Moved from another provider'
], label || '#', n) END
END;
