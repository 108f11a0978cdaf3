"""Where Alembic looks for env.py; the histories themselves are services/<name>/migrations."""
