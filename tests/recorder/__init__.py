"""What runs inside the application, with real frameworks, drivers and servers."""
