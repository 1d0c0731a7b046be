"""Import of MythTV's set-up: jobs, profiles, rules and hosts become definitions and policies."""
