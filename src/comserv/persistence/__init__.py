"""The only code that speaks SQL: database, tables, one module per noun, migrations."""
