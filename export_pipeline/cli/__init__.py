"""The command line: `app` joins the commands, each other module has some of them or what they share."""
