"""Files for desk telephones: who may have which, and how each make wants it written."""
