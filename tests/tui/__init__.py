"""The browser, driven by keys over real ledgers."""
