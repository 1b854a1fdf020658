"""What differs between MySQL/MariaDB and SQLite."""
