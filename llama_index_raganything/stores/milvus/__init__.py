"""What all collections share: connections, requests and filter expressions."""
