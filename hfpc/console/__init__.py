"""What the command line prints, apart from what it does."""
