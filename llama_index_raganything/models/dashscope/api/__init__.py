"""DashScope's HTTP service: endpoints, credentials, clients, failures."""
