-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-PROPERTY.md

ALTER TABLE `doris_steps_item` SET ("bloom_filter_columns" = "");

ALTER TABLE `doris_steps_event` SET ("dynamic_partition.enable" = "true", "dynamic_partition.time_unit" = "DAY", "dynamic_partition.start" = "-30", "dynamic_partition.end" = "4", "dynamic_partition.prefix" = "p", "dynamic_partition.create_history_partition" = "true");
