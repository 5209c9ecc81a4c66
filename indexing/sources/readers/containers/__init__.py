"""Files that hold other files: mail, mailboxes, archives."""
