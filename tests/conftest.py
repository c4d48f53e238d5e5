"""For all tests. That it is here makes pytest put this folder on the path, so that tests can import `synthetic`."""
