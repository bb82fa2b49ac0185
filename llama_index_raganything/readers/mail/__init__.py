"""Mail and web archives, which are MIME messages too."""
