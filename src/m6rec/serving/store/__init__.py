"""What has to outlive the process: events, items, users, options, keys, what was shown. SQL tables, SQLite or PostgreSQL."""
