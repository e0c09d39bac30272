-- A moment of trade at a few shops, drawn by the number {number}: sales with items and payments, stock that goes down,
-- a sale that is returned, one that is struck out, a customer who pays. Two products each, which every shop has.

WITH shop AS (
    SELECT id FROM businesses WHERE status = 'active' ORDER BY md5(id::text || {number}) LIMIT {shops}
), sale AS (
    INSERT INTO sales (business_id, number, customer_id, worker_id, status, total)
    SELECT shop.id, 1 + coalesce((SELECT max(number) FROM sales s WHERE s.business_id = shop.id), 0),
           (SELECT id FROM customers c WHERE c.business_id = shop.id ORDER BY md5(c.id::text || {number}) LIMIT 1),
           (SELECT id FROM workers w WHERE w.business_id = shop.id ORDER BY md5(w.id::text || {number}) LIMIT 1),
           'paid', 100
    FROM shop
    RETURNING id, business_id
), item AS (
    INSERT INTO sale_items (sale_id, product_id, quantity, unit_price)
    SELECT sale.id, product.id, 1 + (length({number}::text) + product.stock) % 3, product.price
    FROM sale CROSS JOIN LATERAL (
        SELECT p.id, p.price, p.stock FROM products p
        WHERE p.business_id = sale.business_id ORDER BY md5(p.id::text || {number}) LIMIT 2
    ) product
    RETURNING sale_id, product_id, quantity, unit_price
), stock AS (
    UPDATE products p SET stock = greatest(0, stock - item.quantity), updated_at = now()
    FROM item WHERE p.id = item.product_id
), payment AS (
    INSERT INTO payments (sale_id, amount, method)
    SELECT sale_id, sum(quantity * unit_price), 'cash' FROM item GROUP BY sale_id
), returned AS (
    UPDATE sales s SET status = 'returned', note = 'returned'
    FROM shop WHERE s.business_id = shop.id AND s.status = 'paid' AND get_byte(decode(md5(s.id::text || {number}), 'hex'), 0) = 7
        AND s.number % 50 = {number} % 50
), struck AS (
    DELETE FROM sales s USING shop
    WHERE s.business_id = shop.id AND s.status = 'open' AND s.number % 100 = {number} % 100
        AND NOT EXISTS (SELECT FROM payments p WHERE p.sale_id = s.id)
)
UPDATE customers c SET balance = 0, updated_at = now()
FROM shop WHERE c.business_id = shop.id AND c.balance < 0 AND get_byte(decode(md5(c.id::text || {number}), 'hex'), 1) = 9;
