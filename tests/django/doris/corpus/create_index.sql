-- docs/sql-manual/sql-statements/table-and-view/index/CREATE-INDEX.md

CREATE INDEX `by_name` ON `doris_steps_thing` (`name`) USING INVERTED;

CREATE INDEX `words` ON `doris_steps_item` (`text`) USING INVERTED PROPERTIES ("parser" = "unicode");

CREATE INDEX `pieces` ON `doris_steps_item` (`name`) USING NGRAM_BF PROPERTIES ("gram_size" = "2", "bf_size" = "256");
