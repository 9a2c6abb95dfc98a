drop index identities_unforwarded;
