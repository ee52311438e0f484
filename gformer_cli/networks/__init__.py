"""What a network is: how it is built, where its weights come from, what its normalisation layers are."""
