"""Tables without ruling lines, found by the columns that their figures stand in."""
