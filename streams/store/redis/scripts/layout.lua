-- Stands before every script that reads or writes these arrays: the places of their fields, counted from 1.
-- `streams/store/encoding.py` is the other side; tests/streams/store/test_layout.py compares both.
-- What is held of a unit. Expires: 0 for never. Price: false where it is not known.
local HELD_OWNER, HELD_DAY, HELD_ARM, HELD_ON_CONTROL, HELD_EFFECTIVE = 1, 2, 3, 4, 5
local HELD_EXPIRES, HELD_PRICE, HELD_SEQUENCE, HELD_EPOCH = 6, 7, 8, 9
-- What is proposed for a unit: the index of its arm from 0, the price of each arm or null; the last three may be absent.
local ROW_UNIT, ROW_CLUSTER, ROW_ARM, ROW_PRICES, ROW_PLANNED, ROW_DETAIL, ROW_CODE = 1, 2, 3, 4, 5, 6, 7
-- What was granted to a unit, in an entry of the outbox: arms by name.
local GRANT_UNIT, GRANT_CLUSTER, GRANT_ARM, GRANT_PLANNED, GRANT_PRICE = 1, 2, 3, 4, 5
local GRANT_EXPIRES, GRANT_CODE, GRANT_DETAIL, GRANT_SEQUENCE = 6, 7, 8, 9
