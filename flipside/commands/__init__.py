"""The subcommands of ``flipside``, one file each; each imports what it needs when it runs."""
