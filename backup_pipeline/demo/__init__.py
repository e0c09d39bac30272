"""Everything a demonstration needs: embedded servers, and data of believable businesses."""
