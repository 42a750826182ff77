-- What encode/orm 0.3.1 leaves in MariaDB (databases 0.7 on aiomysql, SQLAlchemy 1.4, `create_all`).
-- 0.1.9 leaves the same, without email, address and link.
-- DATETIME and TIME columns hold whole seconds, FLOAT columns some seven digits.

CREATE TABLE thing (
  id INTEGER NOT NULL AUTO_INCREMENT,
  big BIGINT,
  flag BOOL,
  day DATE,
  moment DATETIME,
  price NUMERIC(10, 2),
  rate NUMERIC(15, 9),
  color ENUM('RED','GREEN'),
  ratio FLOAT,
  number INTEGER,
  data JSON,
  title VARCHAR(100),
  body TEXT,
  at TIME,
  code CHAR(32),
  slug VARCHAR(20),
  `order` VARCHAR(20),
  email VARCHAR(100),
  address CHAR(45),
  link VARCHAR(200),
  PRIMARY KEY (id),
  UNIQUE (slug)
);
CREATE UNIQUE INDEX ix_thing_order ON thing (`order`);
CREATE INDEX ix_thing_number ON thing (number);
CREATE TABLE label (id BIGINT NOT NULL AUTO_INCREMENT, text VARCHAR(10) NOT NULL, PRIMARY KEY (id));
CREATE TABLE part (
  id CHAR(32) NOT NULL,
  thing INTEGER NOT NULL,
  label BIGINT,
  PRIMARY KEY (id),
  FOREIGN KEY(thing) REFERENCES thing (id) ON DELETE CASCADE,
  UNIQUE (label),
  FOREIGN KEY(label) REFERENCES label (id)
);

INSERT INTO thing VALUES (
  1, 4611686018427387904, 1, '2020-01-02', '2020-01-02 03:04:05', 1.20, 123456.123456789,
  'RED', 0.1, -5, '{"a": [1, null, "\\u00e9"], "b": {"c": 1.5}}', 'Ünïcode 🎵',
  'It''s "quoted" \\ 100%', '01:02:00', 'b0c2a3e41f5d4a6b8c7d9e0f1a2b3c4d', 'a', 'a',
  'a@example.org', '192.168.0.1', 'https://example.org/a?b=c');
INSERT INTO thing VALUES (
  2, -1, 0, '1000-01-01', '1999-12-31 23:59:59', -99999999.99, 0.000000001,
  'GREEN', -1e+30, 0, '[]', 'a', 'b', '23:59:59', 'ffffffffffff4fffbfffffffffffffff',
  'b', 'b', 'b@example.org', '2001:db8::1', 'http://b.example/');
INSERT INTO thing (id, price, rate, ratio, data) VALUES (3, 5.00, 3.000000000, 3, '"text"');
INSERT INTO thing (id, data) VALUES (4, '5');
INSERT INTO thing (id, data) VALUES (5, '1.25');
INSERT INTO thing (id, data) VALUES (6, 'true');
INSERT INTO thing (id, data) VALUES (7, '100000000000000000000');
INSERT INTO thing (id, data) VALUES (8, '"5"');
INSERT INTO thing (id, data) VALUES (9, 'null');
INSERT INTO label VALUES (1, 'x');
INSERT INTO part VALUES ('93bd43e56bc6458790c2316be99a180e', 1, 1);
INSERT INTO part VALUES ('ffffffffffff4fffbffffffffffffffe', 2, NULL);
