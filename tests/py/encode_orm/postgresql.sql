-- What encode/orm 0.3.1 leaves in PostgreSQL (databases 0.7 on asyncpg, SQLAlchemy 1.4, `create_all`).
-- 0.1.9 leaves the same, without email, address and link.

CREATE TYPE color AS ENUM ('RED', 'GREEN');
CREATE TABLE thing (
  id SERIAL NOT NULL,
  big BIGINT,
  flag BOOLEAN,
  day DATE,
  moment TIMESTAMP WITHOUT TIME ZONE,
  price NUMERIC(10, 2),
  rate NUMERIC(15, 9),
  color color,
  ratio FLOAT,
  number INTEGER,
  data JSON,
  title VARCHAR(100),
  body TEXT,
  at TIME WITHOUT TIME ZONE,
  code UUID,
  slug VARCHAR(20),
  "order" VARCHAR(20),
  email VARCHAR(100),
  address INET,
  link VARCHAR(200),
  PRIMARY KEY (id),
  UNIQUE (slug)
);
CREATE UNIQUE INDEX ix_thing_order ON thing ("order");
CREATE INDEX ix_thing_number ON thing (number);
CREATE TABLE label (id BIGSERIAL NOT NULL, text VARCHAR(10) NOT NULL, PRIMARY KEY (id));
CREATE TABLE part (
  id UUID NOT NULL,
  thing INTEGER NOT NULL,
  label BIGINT,
  PRIMARY KEY (id),
  FOREIGN KEY(thing) REFERENCES thing (id) ON DELETE CASCADE,
  UNIQUE (label),
  FOREIGN KEY(label) REFERENCES label (id)
);

INSERT INTO thing VALUES (
  DEFAULT, 4611686018427387904, true, '2020-01-02', '2020-01-02 03:04:05.000006', 1.20,
  123456.123456789, 'RED', 0.1, -5, '{"a": [1, null, "\u00e9"], "b": {"c": 1.5}}', 'Ünïcode 🎵',
  'It''s "quoted" \ 100%', '01:02:00', 'b0c2a3e4-1f5d-4a6b-8c7d-9e0f1a2b3c4d', 'a', 'a',
  'a@example.org', '192.168.0.1', 'https://example.org/a?b=c');
INSERT INTO thing VALUES (
  DEFAULT, -1, false, '1000-01-01', '1999-12-31 23:59:59', -99999999.99, 0.000000001,
  'GREEN', -1e+30, 0, '[]', 'a', 'b', '23:59:59.999999', 'ffffffff-ffff-4fff-bfff-ffffffffffff',
  'b', 'b', 'b@example.org', '2001:db8::1', 'http://b.example/');
INSERT INTO thing (price, rate, ratio, data) VALUES (5.00, 3.000000000, 3, '"text"');
INSERT INTO thing (data) VALUES ('5');
INSERT INTO thing (data) VALUES ('1.25');
INSERT INTO thing (data) VALUES ('true');
INSERT INTO thing (data) VALUES ('100000000000000000000');
INSERT INTO thing (data) VALUES ('"5"');
INSERT INTO thing (data) VALUES ('null');
INSERT INTO label (text) VALUES ('x');
INSERT INTO part VALUES ('93bd43e5-6bc6-4587-90c2-316be99a180e', 1, 1);
INSERT INTO part VALUES ('ffffffff-ffff-4fff-bfff-fffffffffffe', 2, NULL);
