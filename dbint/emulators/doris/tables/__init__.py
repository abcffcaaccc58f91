"""Tables as Doris has them: definitions, partitions, schema changes, views, and the rows."""
