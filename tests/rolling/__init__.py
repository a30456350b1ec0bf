"""Two hosts of one organisation restarted in turn under load: nobody may notice (BEY-6)."""
