"""What `flux init` and `flux track` put into a source database, on real servers."""
