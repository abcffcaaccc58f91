"""What Doris can do, as Django asks it."""

from django.db.backends.base.features import BaseDatabaseFeatures


class DatabaseFeatures(BaseDatabaseFeatures):
    minimum_database_version = (2, 1)

    # Transactions and locks. BEGIN exists for batches of writes, but nothing inside it can be read.
    supports_transactions = False
    uses_savepoints = False
    can_release_savepoints = False
    atomic_transactions = False
    can_rollback_ddl = False
    has_select_for_update = False

    # Constraints: none are enforced. A UNIQUE table replaces rows by key.
    supports_foreign_keys = False
    can_create_inline_fk = False
    can_introspect_foreign_keys = False
    indexes_foreign_keys = False
    supports_column_check_constraints = False
    supports_table_check_constraints = False
    can_introspect_check_constraints = False
    supports_deferrable_unique_constraints = False
    supports_partial_indexes = False
    supports_functions_in_partial_indexes = False
    supports_expression_indexes = False
    supports_index_on_text_field = True
    supports_index_column_ordering = False
    allows_multiple_constraints_on_same_fields = False

    # Inserts: ids are made in the client and given back as if the server had returned them.
    can_return_columns_from_insert = True
    can_return_rows_from_bulk_insert = True
    supports_ignore_conflicts = False
    supports_update_conflicts = True
    supports_update_conflicts_with_target = True
    supports_default_keyword_in_insert = False
    supports_default_keyword_in_bulk_insert = False
    supports_sequence_reset = False

    # Queries.
    supports_tuple_lookups = False
    supports_over_clause = True
    only_supports_unbounded_with_preceding_and_following = True
    supports_temporal_subtraction = True
    supports_date_lookup_using_string = False
    supports_timezones = False
    order_by_nulls_first = True
    supports_slicing_ordering_in_compound = True
    supports_logical_xor = True
    supports_regex_backreferencing = False
    has_case_insensitive_like = False
    supports_json_field_contains = False
    empty_fetchmany_value = ()

    # Definitions.
    requires_literal_defaults = True
    supports_expression_defaults = False
    supports_unlimited_charfield = True
    supports_comments = True
    supports_comments_inline = True
    supports_collation_on_charfield = False
    supports_collation_on_textfield = False
    supports_non_deterministic_collations = False
    can_clone_databases = True
    test_now_utc_template = "UTC_TIMESTAMP()"

    introspected_field_types = {
        **BaseDatabaseFeatures.introspected_field_types,
        "AutoField": "BigIntegerField",
        "BigAutoField": "BigIntegerField",
        "BinaryField": "TextField",
        "DurationField": "BigIntegerField",
        "GenericIPAddressField": "CharField",
        "PositiveBigIntegerField": "BigIntegerField",
        "PositiveIntegerField": "IntegerField",
        "PositiveSmallIntegerField": "SmallIntegerField",
        "SmallAutoField": "BigIntegerField",
        "TimeField": "CharField",
    }
