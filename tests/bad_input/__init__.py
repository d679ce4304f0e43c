"""Bad input: each ends with its documented exit code and a remedy, and nothing stored is lost."""
