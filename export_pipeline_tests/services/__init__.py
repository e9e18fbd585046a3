"""Real servers for tests, each its own process on 127.0.0.1 for as long as the tests run."""
