"""Virtual parts, one file each, written from the datasheet named at the top of the file."""
