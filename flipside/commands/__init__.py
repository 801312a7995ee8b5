"""The commands of the front door, one file each; heavy imports stay inside the bodies, so that --help is quick."""
