-- docs/sql-manual/sql-statements/table-and-view/table/ALTER-TABLE-COMMENT.md

ALTER TABLE `doris_steps_thing` MODIFY COMMENT 'things';
