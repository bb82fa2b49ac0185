"""What every collection needs: connections, filters, expressions and scans."""
