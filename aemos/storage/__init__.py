"""Rows in MySQL, MariaDB and SQLite, and the one writer that commits them."""
